#!/bin/bash
# gan_debiasing.sh faces|mnist|celeba "SEED ...": make the pairs of each seed that the grids in
# configs/papers/dro-vs-fairness read, below ./pairs. What is finished is not redone.
set -euo pipefail
kind=$1
best=checkpoints/best.ckpt
quiet="--trainer.enable_progress_bar=false --trainer.enable_model_summary=false --trainer.accelerator=cpu"
every="--trainer.check_val_every_n_epoch=null"
small="--model.network=SmallCNN --model.network.channels=[8,16] --model.network.features=32"
gan=""
case "$kind" in
  faces)
    data="--data=GeneratedFaces --data.batch_size=64 --data.n_eval=2000"
    recipe="--model.lr=0.004 --trainer.max_steps=400 --trainer.val_check_interval=50 $every"
    biased="--data.n=2000"; fair="--data.n=4000 --data.cosine=0"; other="--data.target=long_hair"
    pairs="--settings.n=4000 --settings.fit=4000"
    generator="--generator=AnalyticFaces" ;;
  mnist)  # a generator for each seed; at the default rate 2000 steps are too few
    data="--data=ColouredMNIST --data.batch_size=64 --data.n_eval=5000"
    recipe="--model.lr=0.002 --trainer.max_steps=600 --trainer.val_check_interval=60 $every"
    biased="--data.n=10000"; fair="--data.n=20000 --data.skew=0.5"; other="--data.target=colour"
    pairs="--settings.n=10000 --settings.fit=5000"
    gan="each"; gan_recipe="--model.lr=1e-3 --model.decay=0.995" ;;
  celeba)  # drawn faces in CelebA's format: one folder and one generator, as CelebA is one
    data="--data=CelebA --data.root=pairs/drawn --data.batch_size=64 --data.image_size=28"
    data="$data --data.num_workers=0 --data.cache=true"
    recipe="--model.lr=0.004 --trainer.max_steps=400 --trainer.val_check_interval=50 $every $small"
    biased=""; fair="--data.root=pairs/drawn-even"
    other="--data.target=Male --data.attribute=Blond_Hair"
    pairs="--settings.n=1400 --settings.fit=4000"
    gan="one"; gan_recipe=""
    [ -f pairs/drawn-even/list_eval_partition.txt ] || python -c "
from frbench.data.images.drawn_celeba import draw_celeba
draw_celeba('pairs/drawn', 2000, 10, even_evaluation=True, hair_spread=90)
draw_celeba('pairs/drawn-even', 1200, 99, [[1, 1], [1, 1]], hair_spread=90)" ;;
  *) echo "usage: gan_debiasing.sh faces|mnist|celeba \"SEED ...\"" >&2; exit 2 ;;
esac
fit() {  # fit FOLDER OPTION...: train unless there is a best.ckpt
  local folder=$1; shift
  [ -f "$folder/$best" ] && return
  rm -rf "$folder"
  frbench fit --run_dir "$folder" $data $recipe $quiet "$@" > "$folder.log" 2>&1
}
train_gan() {  # train_gan FOLDER SEED: 2000 steps, continued if stopped
  frbench gan train $data $biased --data.seed="$2" --seed="$2" --steps=2000 $gan_recipe \
    --out="$1" > "$1.log" 2>&1
  generator="--generator=Trained --generator.path=$1/last.ckpt"
}
mkdir -p pairs/work
# Judges outside the loop: trained once, on data without the bias and of another seed.
fit "pairs/work/$kind-judge-target" $fair --data.seed=99 --seed_everything=99
fit "pairs/work/$kind-judge-protected" $fair $other --data.seed=99 --seed_everything=99
if [ "$gan" = one ]; then train_gan "pairs/work/$kind-gan" 10; fi
for seed in $2; do
  work="pairs/work/$kind-$seed"
  fit "$work-target" $biased --data.seed="$seed" --seed_everything="$seed"
  fit "$work-protected" $biased $other --data.seed="$seed" --seed_everything="$seed"
  if [ "$gan" = each ]; then train_gan "$work-gan" "$seed"; fi
  frbench gan pairs $generator --target="$work-target/$best" --protected="$work-protected/$best" \
    --judges "pairs/work/$kind-judge-target/$best" "pairs/work/$kind-judge-protected/$best" \
    $pairs --settings.seed="$seed" --out="pairs/$kind-$seed"
done
