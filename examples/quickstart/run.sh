#!/usr/bin/env bash
# The quickstart: a Kinesis on this machine, the operator on a folder of manifests, a few thousand profile updates.
# Usage: run.sh DIR, where DIR holds the two programs. Everything that it starts ends with it.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
programs=$(cd "${1:?usage: run.sh DIR}" && pwd)
work=$(mktemp -d)
stub=
cleanup() {
    [ -z "$stub" ] || kill "$stub" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT

# 1. A stream. This stands in for Amazon Kinesis: real signatures, real limits, and a log of what it took.
"$programs/kinesis-stub" --stream profiles:4 --key quickstart:quickstart-secret --log "$work/stream.ndjson" >"$work/stub.out" &
stub=$!
for _ in $(seq 200); do
    [ -s "$work/stub.out" ] && break
    sleep 0.05
done
url=$(sed -n 's/.*"listening":"\([^"]*\)".*/\1/p' "$work/stub.out")
[ -n "$url" ] || { echo "quickstart: the stream did not start" >&2; exit 1; }
echo "==> A Kinesis stream 'profiles' of 4 shards is at $url"

# 2. What is to be activated, as an admin would apply it.
mkdir "$work/manifests"
cp "$here"/manifests/*.yaml "$work/manifests/"
sed -i.bak "s#http://127.0.0.1:4566#$url#" "$work/manifests/destination.yaml" && rm "$work/manifests/destination.yaml.bak"
echo "==> The manifests of $(basename "$(dirname "$here")")/$(basename "$here")/manifests: one KinesisDestination, one AudienceActivation"

status="$work/data/status/audienceactivation_marketing_vip.yaml"
# Waits until the activation's status has such a line; gives up when the operator has ended or two minutes are over.
await() {
    for _ in $(seq 600); do
        if [ -f "$status" ] && grep -Eq "$1" "$status"; then return 0; fi
        sleep 0.2
    done
    echo "quickstart: the status never said $1" >&2
    return 1
}

# 3. Updates come in; when the first are through, one audience more is mapped, and more updates follow.
feed() {
    await 'reason: (Idle|Flowing)'
    awk -v part=1 -f "$here/updates.awk"
    await 'audience: 900'
    cp "$here/activation-two-audiences.yaml" "$work/manifests/activation.yaml"
    await 'mappedAudiences: 2'
    await 'backfillPercent: 100'
    awk -v part=2 -f "$here/updates.awk"
}

echo "==> activation-operator standalone: the board"
feed | "$programs/activation-operator" standalone -f "$work/manifests" --data-dir "$work/data" --listen 127.0.0.1:0 \
    --updates - --until-idle --log warn

# 4. What landed in the stream.
kill "$stub"
wait "$stub" 2>/dev/null || true
stub=
echo
echo "==> Three of the $(wc -l <"$work/stream.ndjson" | tr -d ' ') records as they landed: an entry, an exit, one of the backfill"
record() { sed -n 's/.*"data":"\([^"]*\)".*/\1/p' "$work/stream.ndjson" | while read -r data; do printf '%s' "$data" | base64 -d; echo; done; }
record >"$work/records.ndjson"
for kind in '"status":"realized".*"triggers":\["audience"' '"status":"exited".*"triggers":\["audience"' '"triggers":\["backfill"'; do
    grep -E -m 1 "$kind" "$work/records.ndjson"
done
grep -q 'deadLettered: 0' "$status"
