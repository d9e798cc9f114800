#!/usr/bin/env bash
# Makes an image to build with on a machine that cannot pull golang:1.26, from
# the Go toolchain and the modules that are here:
#
#   bash deploy/compose/build-base.sh           # prints its tag
#   SLUICE_BUILD_IMAGE=sluice-build:local docker compose -f deploy/compose/compose.yaml build
#
# The image holds GOROOT, the modules of go.mod, and the certificates, and no
# shell. Builds in it do not use the network.
set -euo pipefail
cd "$(dirname "$0")/../.."

tag=${1:-sluice-build:local}

certificates=
for f in /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/cert.pem; do
	if [ -r "$f" ]; then certificates=$f; break; fi
done
[ -n "$certificates" ] || { echo "build-base: no CA certificates found; install the package ca-certificates" >&2; exit 1; }
[ "$(go env GOOS)" = linux ] || { echo "build-base: needs the Go toolchain of a Linux machine, this is $(go env GOOS)" >&2; exit 1; }

goroot=$(go env GOROOT)
content=$({ go version; cat go.mod go.sum deploy/compose/build-base.sh; } | sha256sum | cut -c1-16)
if [ "$(docker image inspect --format '{{index .Config.Labels "sluice.base"}}' "$tag" 2>/dev/null)" = "$content" ]; then
	echo "$tag"
	exit 0
fi

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/usr/local" "$root/go/pkg/mod" "$root/etc/ssl/certs" "$root/root" "$root/tmp"
chmod 1777 "$root/tmp"
cp -aL "$goroot" "$root/usr/local/go"
rm -rf "$root/usr/local/go/test" "$root/usr/local/go/api" "$root/usr/local/go/doc"
cp -L "$certificates" "$root/etc/ssl/certs/ca-certificates.crt"
# What the local cache has is taken from there; sums are checked by go.sum.
GOMODCACHE=$root/go/pkg/mod GOFLAGS=-modcacherw GOWORK=off \
	GOPROXY="file://$(go env GOMODCACHE)/cache/download,$(go env GOPROXY)" go mod download

tar --create --numeric-owner --owner=0 --group=0 --directory="$root" . | docker import \
	--change "LABEL sluice.base=$content" \
	--change 'ENV PATH=/usr/local/go/bin' \
	--change 'ENV GOPATH=/go' \
	--change 'ENV HOME=/root' \
	--change 'ENV GOPROXY=off' \
	--change 'ENV GOTOOLCHAIN=local' \
	- "$tag" >/dev/null
docker image prune --force --filter label=sluice.base >/dev/null # the one that had the tag before
echo "$tag"
