#!/usr/bin/env bash
# What a GPU is needed for, in one command: bash studies/gpu.sh NYUV2_288x384_FOLDER [OUT] [EPOCHS]
# Trains configs/nyuv2_resnet50.yaml with GradNorm and with equal weights, exports and verifies both, and times a step.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=${1:?"usage: bash studies/gpu.sh NYUV2_288x384_FOLDER [OUT] [EPOCHS]"}
out=${2:-runs}
epochs=${3:-100}
# offline, ImageNet weights come from a file: PRETRAINED=resnet50.safetensors, or PRETRAINED=false to start from scratch
pretrained=${PRETRAINED:-true}

python benchmarks/gradnorm_step.py --device cuda --backbone resnet50 --size 288x384 --batch 16 --bf16 |
    tee /dev/stderr | tail -n 1 >"$out.gradnorm_step.json"
for balancer in gradnorm equal; do
    python train.py --config configs/nyuv2_resnet50.yaml --data.root "$root" --model.pretrained "$pretrained" \
        --train.epochs "$epochs" --balancer.name "$balancer" --run.dir "$out" --run.name "nyuv2_resnet50_$balancer"
    python -m export "$out/nyuv2_resnet50_$balancer"
done
