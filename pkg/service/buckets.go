package service

import (
	"context"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
)

// KeepBuckets makes Sluice's buckets and streams again that are deleted while the
// service lives, until ctx ends, and has check say which are missing.
func (c Common) KeepBuckets(ctx context.Context, js jetstream.JetStream, check *Check, log zerolog.Logger) error {
	return bus.Keep(ctx, js, c.Layout(), func(missing []string) {
		if len(missing) > 0 {
			check.Fail("missing: " + strings.Join(missing, ", "))
			return
		}
		check.OK()
	}, log)
}
