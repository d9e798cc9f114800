#!/usr/bin/env bash
# Tests the compose file: up as the README has it, the quickstart, kill -9 of
# the emitter that owns the pool, delivery goes on without loss, down.
#
#   bash deploy/compose/test.sh      # or: make compose-test
#
# Needs Go, Docker, and Compose (the plugin or docker-compose 1.29). Uses its
# own project name, image tag and free ports, and removes them at the end. On
# a machine that has no golang:1.26 it makes its own build image.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cd "$here" # where the README sends its reader

readonly limit=${SLUICE_COMPOSE_TEST_LIMIT:-350} # seconds in all
if [ -z "${SLUICE_COMPOSE_TEST_GUARDED:-}" ]; then
	SLUICE_COMPOSE_TEST_GUARDED=1 exec timeout --kill-after=45 "$limit" bash "$here/test.sh" "$@"
fi

say() { printf '=== compose-test, %3d s: %s\n' "$SECONDS" "$*"; }
reason= # why it failed; said again below the logs, where the reader looks first
fail() {
	reason=$(printf 'compose-test: %s\n' "$@")
	printf '%s\n' "$reason" >&2
	exit 1
}
trap 'reason="compose-test: line $LINENO failed: $BASH_COMMAND"' ERR

# --- What must be here.
command -v go >/dev/null || fail "go is not here." "Install Go 1.26 or later: https://go.dev/dl"
command -v docker >/dev/null || fail "docker is not here." "Install Docker Engine: https://docs.docker.com/engine/install"
docker version --format '{{.Server.Version}}' >/dev/null 2>&1 || fail \
	"the Docker daemon does not answer: $(docker version 2>&1 >/dev/null | tail -1)" \
	"Start it (systemctl start docker), and see that this user may use it (group docker)."
if docker compose version >/dev/null 2>&1; then
	compose=(docker compose)
elif command -v docker-compose >/dev/null; then
	compose=(docker-compose)
else
	fail "neither 'docker compose' nor docker-compose is here." \
		"Install the Compose plugin: https://docs.docker.com/compose/install"
fi

# --- Everything is this run's own, and goes with it.
free_port() { # one that nobody listens on, from those that are not handed out
	local port
	for _ in $(seq 50); do
		port=$((20000 + RANDOM % 10000))
		(exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
	done
	fail "found no free port"
}
project="sluicetest$$"
SLUICE_NATS_PORT=$(free_port)
SLUICE_HTTP_PORT=$(free_port)
SLUICE_IMAGE="sluice-test:$project"
export SLUICE_NATS_PORT SLUICE_HTTP_PORT SLUICE_IMAGE COMPOSE_PROJECT_NAME=$project
work=$(mktemp -d)
receiver=

clean_up() {
	local status=$?
	trap - EXIT INT TERM
	set +e
	if [ "$status" -ne 0 ]; then
		say "failed with status $status; the end of each log:"
		"${compose[@]}" ps
		"${compose[@]}" logs --no-color --tail=30
		[ -e "$work/received" ] && echo "--- received, the end:" && tail -20 "$work/received"
	fi
	say "cleaning up"
	[ -n "$receiver" ] && kill "$receiver" 2>/dev/null
	"${compose[@]}" down --volumes --remove-orphans --timeout 5 >"$work/down" 2>&1 || cat "$work/down"
	docker image rm --force "$SLUICE_IMAGE" >/dev/null 2>&1
	# Build stages that the classic builder leaves; the last day's are its cache.
	docker image prune --force --filter label=sluice.stage=build --filter until=24h >/dev/null 2>&1
	rm -rf "$work"
	[ "$status" -eq 0 ] || printf '%s\n' "${reason:-compose-test: failed with status $status}" >&2
	exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'say "not done after $limit s"; exit 124' TERM

# until_true SECONDS WHAT COMMAND...: repeats the command until it succeeds.
until_true() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || fail "gave up waiting: $what"
		sleep 0.2
	done
}

# --- Build and start.
if [ -z "${SLUICE_BUILD_IMAGE:-}" ]; then
	if docker image inspect golang:1.26 >/dev/null 2>&1; then
		SLUICE_BUILD_IMAGE=golang:1.26
	else
		say "golang:1.26 is not here, making a build image from the local toolchain"
		SLUICE_BUILD_IMAGE=$(bash build-base.sh)
	fi
fi
export SLUICE_BUILD_IMAGE
go build -C ../../tools/natscli -o "$work/nats" github.com/nats-io/natscli/nats
nats() { NATS_URL="nats://127.0.0.1:$SLUICE_NATS_PORT" XDG_CONFIG_HOME="$work" "$work/nats" "$@"; }

# As the README has it: nothing is built before.
say "${compose[*]} up, building with $SLUICE_BUILD_IMAGE"
"${compose[@]}" up --detach >"$work/up" 2>&1 || { cat "$work/up"; fail "up failed"; }
containers() { "${compose[@]}" ps --quiet "$@"; }
all_healthy() {
	local ids
	ids=$(containers) && [ "$(wc -w <<<"$ids")" -eq 6 ] || return 1
	# shellcheck disable=SC2086 # one word each
	[ "$(docker inspect --format '{{.State.Health.Status}}' $ids | sort -u)" = healthy ]
}
until_true 90 "six healthy containers" all_healthy

# --- The quickstart.
say "quickstart"
nats stream add GITHUB --subjects 'github.>' --defaults >/dev/null
nats request sluice.v1.api.subscribe.triage --raw \
	'{"store":"GITHUB","selector":{"by_event_type":"issues"},"deliver":{"subject":"triage.issues"}}' >"$work/subscribed"
grep -q '"created":true' "$work/subscribed" || fail "the subscribe was answered with: $(cat "$work/subscribed")"
nats reply triage.issues ok >"$work/received" 2>&1 &
receiver=$!
publish() { # publish FIRST LAST: events that say their number, and a few that do not match
	nats publish --jetstream --count "$(($2 - $1 + 1))" --sleep "${3:-0s}" \
		github.octo.hello.issues "{\"event\":\"$1+{{Count}}\"}" >/dev/null 2>"$work/publish.$1" ||
		fail "publish from $1: $(tail -3 "$work/publish.$1")"
	nats publish --jetstream github.octo.hello.push '{"event":"other"}' >/dev/null 2>&1
}
received() { grep -o '{"event":"[^"]*"}' "$work/received" | sort -u | wc -l; }
has_received() { [ "$(received)" -ge "$1" ]; }
publish 1 10
until_true 30 "10 events, $(received) received" has_received 10

# --- Kill the emitter that owns the pool, in the middle of a stream of events.
owner() { # the instance that owns the pool
	nats request --raw sluice.v1.api.subscription.get.triage '' | sed -n 's/.*"pool":{[^}]*"owner":"\([^"]*\)".*/\1/p'
}
owned() { first_owner=$(owner) && [ -n "$first_owner" ]; }
until_true 10 "an owner of the pool" owned
victim=
for id in $(containers emitter); do
	# Through a file: grep -q leaves a pipe early, and pipefail would call that a failure.
	docker logs "$id" >"$work/log" 2>&1
	if grep -q "\"instance\":\"$first_owner\"" "$work/log"; then victim=$id; fi
done
[ -n "$victim" ] || fail "no container's log names $first_owner, the pool's owner"

say "publishing, and killing $first_owner meanwhile"
publish 1001 1200 20ms & # 4 s of them
publisher=$!
before=$(received)
until_true 10 "the stream of events to begin" has_received $((before + 20))
docker kill --signal KILL "$victim" >/dev/null
wait "$publisher"
until_true 60 "all 210 events" has_received 210
taken_over() { second_owner=$(owner) && [ -n "$second_owner" ] && [ "$second_owner" != "$first_owner" ]; }
until_true 10 "another owner than $first_owner, which was killed" taken_over
[ "$(received)" -eq 210 ] || fail "$(received) different events received, want 210: one that does not match?"
deliveries=$(grep -c '{"event":"' "$work/received")
publish 2001 2010
until_true 30 "events after the takeover" has_received 220

# --- It comes back, and everything is well again.
say "starting the killed one again"
docker start "$victim" >/dev/null
until_true 60 "six healthy containers again" all_healthy
exec 3<>"/dev/tcp/127.0.0.1/$SLUICE_HTTP_PORT"
printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3
read -r answer <&3
[[ "$answer" == *" 200 "* ]] || fail "healthmon is not ready on 127.0.0.1:$SLUICE_HTTP_PORT"
exec 3>&-

say "passed: 220 of 220 events; $((deliveries - 210)) repeated by the takeover from $first_owner to $second_owner"
