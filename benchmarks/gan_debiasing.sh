#!/bin/bash
# gan_debiasing.sh faces|mnist "SEED ...": make the pairs of each seed that the grids in
# configs/papers/dro-vs-fairness read, below ./pairs. What is finished is not redone.
set -euo pipefail
kind=$1
quiet="--trainer.enable_progress_bar=false --trainer.enable_model_summary=false --trainer.accelerator=cpu"
every="--trainer.check_val_every_n_epoch=null"
if [ "$kind" = faces ]; then
  data="--data=GeneratedFaces --data.batch_size=64 --data.n_eval=2000"
  recipe="--model.lr=0.004 --trainer.max_steps=400 --trainer.val_check_interval=50 $every"
  biased="--data.n=2000"; fair="--data.n=4000 --data.cosine=0"; other="--data.target=long_hair"
  pairs="--settings.n=4000 --settings.fit=4000"
else
  data="--data=ColouredMNIST --data.batch_size=128 --data.n_eval=5000"
  recipe="--model.lr=0.002 --trainer.max_steps=600 --trainer.val_check_interval=60 $every"
  biased="--data.n=10000"; fair="--data.n=20000 --data.skew=0.5"; other="--data.target=colour"
  pairs="--settings.n=10000 --settings.fit=5000"
fi
fit() {  # fit FOLDER OPTION...: train unless there is a best.ckpt
  local folder=$1; shift
  [ -f "$folder/checkpoints/best.ckpt" ] && return
  rm -rf "$folder"
  frbench fit --run_dir "$folder" $data $recipe $quiet "$@" > "$folder.log" 2>&1
}
mkdir -p pairs/work
# Judges outside the loop: trained once, on data without the bias and of another seed.
fit "pairs/work/$kind-judge-target" $fair --data.seed=99 --seed_everything=99
fit "pairs/work/$kind-judge-protected" $fair $other --data.seed=99 --seed_everything=99
for seed in $2; do
  work="pairs/work/$kind-$seed"
  fit "$work-target" $biased --data.seed="$seed" --seed_everything="$seed"
  fit "$work-protected" $biased $other --data.seed="$seed" --seed_everything="$seed"
  if [ "$kind" = faces ]; then
    generator="--generator=AnalyticFaces"
  else
    frbench gan train $data $biased --data.seed="$seed" --seed="$seed" --steps=2000 \
      --out="$work-gan" > "$work-gan.log" 2>&1
    generator="--generator=Trained --generator.path=$work-gan/last.ckpt"
  fi
  best=checkpoints/best.ckpt
  frbench gan pairs $generator --target="$work-target/$best" --protected="$work-protected/$best" \
    --judges "pairs/work/$kind-judge-target/$best" "pairs/work/$kind-judge-protected/$best" \
    $pairs --settings.seed="$seed" --out="pairs/$kind-$seed"
done
