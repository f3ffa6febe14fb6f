"""Pair tables: the whole pipeline on drawn faces, resuming, and their way into training."""

import json

import numpy as np
import pytest
import torch

from frbench.contracts.batch import Batch, Outputs
from frbench.contracts.errors import UserError
from frbench.data import CelebA, ColouredMNIST, GanPairs
from frbench.data.describe import describe
from frbench.data.fingerprint import fingerprint
from frbench.data.images.drawn_celeba import draw_celeba
from frbench.gan import AnalyticFaces, GeneratedFaces, PairSettings, build_pairs, pairs
from frbench.networks import Network
from frbench.objectives import ERM, GroupDRO


class Reader(Network):
    """Reads one attribute off a drawn face of known place: exact where faces do not move."""

    def __init__(self, row=0):
        super().__init__()
        self.row = row

    def build(self, sizes):
        return torch.nn.Flatten(), int(np.prod(sizes.input_shape))


class Still(AnalyticFaces):
    """Faces that only smile or change their hair."""

    def images(self, z):
        return super().images(z @ self.normals.T @ torch.linalg.pinv(self.normals).T)


def readers():
    """Linear classifiers of the pixels that tell smile and hair of still faces."""
    from sklearn.linear_model import LogisticRegression

    faces = Still(cosine=0.9, image_size=16)
    z = faces.sample(np.random.default_rng(5), 3000)
    truth = faces.attributes(torch.as_tensor(z)).numpy() > 0
    x = pairs.generate(faces, z).reshape(len(z), -1) / 255
    made = []
    for labels in truth.T:
        model = LogisticRegression(C=1e4, max_iter=3000).fit(x, labels)
        objective = ERM(2, 2, [3, 16, 16], network=Reader())
        with torch.no_grad():
            head = objective.network.head
            head.weight.copy_(torch.tensor(np.stack([-model.coef_[0], model.coef_[0]]) / 2))
            head.bias.copy_(torch.tensor([-1, 1]) * float(model.intercept_[0]) / 2)
        made.append(objective)
    return faces, *made


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs") / "faces"
    faces, f_t, f_g = readers()
    record = build_pairs(folder, faces, f_t, f_g, PairSettings(n=1200, fit=3000))
    return folder, record, (faces, f_t, f_g)


def test_label_correlation_of_seven_tenths_vanishes_through_the_whole_pipeline(built):
    folder, record, (faces, *_) = built
    measured = record["quality"]
    assert measured["correlation"]["images"] > 0.65
    assert abs(measured["correlation"]["pairs"]) < 0.05
    assert measured["keep_rate"] > 0.97 and measured["flip_rate"] > 0.97
    # By the truth of the drawing, not by the classifiers.
    with np.load(folder / "pairs.npz") as file:
        assert len(np.unique(file["latents"][:, 0], axis=0)) == 1200
        scores = faces.attributes(torch.as_tensor(file["latents"])).numpy()  # [N, 2, 2]
        y, z = file["y"], file["z"]
    t, g = scores.transpose(2, 0, 1) > 0
    assert abs(np.corrcoef(t.ravel(), g.ravel())[0, 1]) < 0.05
    assert (t[:, 0] == y).mean() > 0.98 and (g[:, 0] == z).mean() > 0.98
    assert (t[:, 1] == y).mean() > 0.97 and (g[:, 1] == 1 - z).mean() > 0.97


def test_a_stopped_build_continues_to_the_same_table_and_a_finished_one_is_kept(
    built, tmp_path, monkeypatch
):
    folder, record, parts = built
    real, calls = pairs.generate, []

    def stop(generator, z, chunk=256):
        calls.append(len(z))
        if len(calls) == 5:  # fit, then images and partners of two chunks
            raise KeyboardInterrupt
        return real(generator, z, chunk)

    monkeypatch.setattr(pairs, "generate", stop)
    with pytest.raises(KeyboardInterrupt):
        build_pairs(tmp_path / "p", *parts, PairSettings(n=1200, fit=3000))
    assert not (tmp_path / "p").exists()
    assert json.loads((tmp_path / "p.partial" / "pairs.json").read_text())["done"] == 500
    build_pairs(tmp_path / "p", *parts, PairSettings(n=1200, fit=3000))
    assert calls[5:] == [500, 500, 200, 200]  # neither the fit nor the first chunk again
    for name in ("images.npy", "partners.npy"):
        np.testing.assert_array_equal(np.load(tmp_path / "p" / name), np.load(folder / name))
    with np.load(tmp_path / "p" / "pairs.npz") as a, np.load(folder / "pairs.npz") as b:
        for key in b:
            np.testing.assert_array_equal(a[key], b[key])
    assert build_pairs(tmp_path / "p", *parts, PairSettings(n=1200, fit=3000)) == record
    assert len(calls) == 9
    with pytest.raises(UserError, match="another settings"):
        build_pairs(tmp_path / "p", *parts, PairSettings(n=1200, fit=3000, seed=1))


def test_variants_flip_half_or_depend_on_the_domain(built, tmp_path):
    *_, parts = built
    half = build_pairs(tmp_path / "h", *parts, PairSettings(n=300, fit=2000, flip=0.5))["quality"]
    assert half["relative_move"] < 0.6 * built[1]["quality"]["relative_move"]
    two = build_pairs(tmp_path / "d", *parts, PairSettings(n=300, fit=3000, domain_dependent=True))
    assert len(two["quality"]["cosine"]) == 2 and two["quality"]["flip_rate"] > 0.95
    with pytest.raises(UserError, match="judging target"):
        other = ERM(2, 2, [3, 8, 8], network=Reader())
        build_pairs(tmp_path / "j", *parts, PairSettings(n=9, fit=900), judges=(other, other))


def test_rows_are_added_with_provenance_and_only_to_training(built):
    folder = built[0]
    for use, rows in (("pairs", 40), ("images", 30)):
        step = GanPairs(str(folder), use=use, rows=rows)
        data = GeneratedFaces(n=50, n_eval=40, image_size=16, augment=[step], batch_size=30)
        table = data.training.table
        assert table.synthetic.tolist() == [False] * 50 + [True] * rows
        assert not any(data.splits[name].synthetic.any() for name in data.splits)
        with np.load(folder / "pairs.npz") as file:
            y, z = file["y"][: rows // (1 + (use == "pairs"))], file["z"]
        half = len(y)
        np.testing.assert_array_equal(table.y[50 : 50 + half], y)
        np.testing.assert_array_equal(table.z[50 : 50 + half], z[:half])
        images = np.load(folder / "images.npy")
        if use == "pairs":
            np.testing.assert_array_equal(table.y[50 + half :], y)
            np.testing.assert_array_equal(table.z[50 + half :], 1 - z[:half])
        loader = data.train_dataloader()
        seen = Batch(*(torch.cat(column) for column in zip(*loader, strict=True)))
        assert torch.equal(seen.synthetic, seen.index >= 50)
        for x, row in zip(seen.x, seen.index.tolist(), strict=True):
            if 50 <= row < 50 + half:
                np.testing.assert_allclose(x, images[row - 50] / 255.0, atol=1e-6)
        assert f"generated: {rows} of {50 + rows}" in describe(data)
        assert fingerprint(data) != fingerprint(GeneratedFaces(n=50, n_eval=40, image_size=16))


def test_decoded_images_and_generated_ones_share_a_table(built, tmp_path):
    root = draw_celeba(tmp_path / "celeba", n=80)
    data = CelebA(
        str(root), image_size=16, num_workers=0, batch_size=16, balance="class", via="subsample",
        augment=[GanPairs(str(built[0]), rows=60)],
    )  # fmt: skip
    table = data.training.table
    seen = Batch(*(torch.cat(column) for column in zip(*data.train_dataloader(), strict=True)))
    assert seen.synthetic.any() and not seen.synthetic.all() and seen.x.shape[1:] == (3, 16, 16)
    images = np.concatenate([np.load(built[0] / f"{k}.npy")[:30] for k in ("images", "partners")])
    first = int(np.flatnonzero(table.synthetic)[0])
    place = table.x.rows[first] - len(table.x.raw)
    x = data.encode_all(table.x)[np.array([first])][0]
    np.testing.assert_array_equal(x, images[place])
    real = np.flatnonzero(~table.synthetic)[:3]
    np.testing.assert_array_equal(
        data.encode_all(table.x)[real], data.encode(table.x.raw[table.x.rows[real]])[np.arange(3)]
    )


def test_two_steps_follow_each_other_and_verified_rows_stay_last(built):
    steps = [GanPairs(str(built[0]), rows=8), GanPairs(str(built[0]), use="images", rows=5)]
    data = GeneratedFaces(n=40, n_eval=8, image_size=16, augment=steps, clean_share=0.1)
    table = data.training.table
    assert table.synthetic.tolist() == [False] * 36 + [True] * 13
    x = data.encode_all(table.x)
    np.testing.assert_array_equal(x[36:40], x[44:48])  # both begin with the folder's first rows
    loader = data.train_dataloader()
    assert len(loader.dataset) == 49 + 4 and loader.dataset.clean.sum() == 4
    batch = loader.dataset[np.arange(36, 53), None]
    assert batch.synthetic.tolist() == [True] * 13 + [False] * 4
    np.testing.assert_allclose(batch.x[0], np.load(built[0] / "images.npy")[0] / 255, atol=1e-6)


def test_what_does_not_fit_is_said(built, tmp_path):
    def training(**kwargs):
        return GeneratedFaces(n=9, n_eval=8, image_size=16, augment=[GanPairs(**kwargs)]).training

    with pytest.raises(UserError, match="there is no images"):
        training(path=str(tmp_path))
    with pytest.raises(UserError, match="9000 are wanted"):
        training(path=str(built[0]), rows=18_000)
    with pytest.raises(UserError, match="make pairs of that size"):
        GeneratedFaces(n=9, n_eval=8, augment=[GanPairs(str(built[0]))]).training  # noqa: B018
    with pytest.raises(UserError, match="even"):
        GanPairs("x", rows=3)
    with pytest.raises(UserError, match="expected one of pairs, images"):
        GanPairs("x", use="both")
    with pytest.raises(UserError, match="expected one of smile, long_hair"):
        GeneratedFaces(target="beard")
    with pytest.raises(UserError, match="skew"):
        ColouredMNIST(skew=1.0)


def test_the_seed_is_part_of_the_path(built, tmp_path):
    (tmp_path / "p-7").symlink_to(built[0])
    step = GanPairs(str(tmp_path / "p-{seed}"), rows=4)
    assert (
        len(GeneratedFaces(n=9, n_eval=8, image_size=16, seed=7, augment=[step]).training.table)
        == 13
    )


def test_generated_rows_move_no_group_weight_but_are_trained_on():
    rng = np.random.default_rng(0)
    n, groups = 60, 4
    group = torch.tensor(rng.integers(0, groups, n))
    losses = torch.tensor(rng.uniform(0.1, 3, n), dtype=torch.float32, requires_grad=True)
    synthetic = torch.tensor(rng.random(n) < 0.5)
    one = torch.ones(n)
    batch = Batch(one[:, None], group // 2, group % 2, group, one, one < 0, group, synthetic)
    out = Outputs(one[:, None], torch.zeros(n, 2), losses)
    model = GroupDRO(2, 2, [2], eta=0.7, real_only=True)
    risk = model.risk(out, batch)
    model.commit()
    q = np.full(4, 0.25)
    values, real = losses.detach().double().numpy(), ~synthetic.numpy()
    for g in range(groups):
        q[g] *= np.exp(0.7 * values[(group == g).numpy() & real].mean())
    q /= q.sum()
    np.testing.assert_allclose(model.log_q.exp(), q, rtol=1e-5)
    expected = sum(q[g] * values[(group == g).numpy()].mean() for g in range(groups))
    assert risk.item() == pytest.approx(expected, rel=1e-5)
    (gradient,) = torch.autograd.grad(risk, losses)
    assert (gradient[synthetic] > 0).all()
    assert model.risk(out, batch._replace(synthetic=one < 0)).item() != pytest.approx(risk.item())


def test_real_only_without_generated_rows_is_group_dro():
    batch = next(
        iter(GeneratedFaces(n=64, n_eval=8, image_size=8, batch_size=64).train_dataloader())
    )
    models = [GroupDRO(2, 2, [3, 8, 8], network=Reader(), real_only=flag) for flag in (0, 1)]
    models[1].load_state_dict(models[0].state_dict())
    a, b = (model.risk(model.outputs(batch), batch) for model in models)
    assert torch.equal(a, b)
