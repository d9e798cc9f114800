package bus

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"
)

// keepEvery is how often Keep looks. Each look is a request per stream.
const keepEvery = 2 * time.Second

// Keep makes buckets and streams of l again that are deleted while a service
// lives, until ctx ends. It tells, at every look, the names of those that are
// missing and cannot be made; none is told as an empty list. What they held is
// for their users to write again.
//
// Only the server's word that a stream does not exist counts, not its silence.
func Keep(ctx context.Context, js jetstream.JetStream, l Layout, tell func(missing []string), log zerolog.Logger) error {
	l = l.WithDefaults()
	rarely := Rarely(log) // a stream that cannot be made fails at every look
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		if missing := keep(ctx, js, l, log, rarely); ctx.Err() == nil {
			tell(missing)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// keep looks once.
func keep(ctx context.Context, js jetstream.JetStream, l Layout, log, rarely zerolog.Logger) (missing []string) {
	for _, want := range l.streams() {
		if ctx.Err() != nil || !gone(ctx, js, want.Name) {
			continue
		}
		if err := ensureStream(ctx, js, want, log); err != nil {
			rarely.Warn().Err(err).Str("stream", want.Name).Msg("stream is gone and cannot be made again yet")
			missing = append(missing, want.Name)
			continue
		}
		log.Warn().Str("stream", want.Name).Msg("stream was gone, and is there again; what it held is lost")
	}
	return missing
}

// gone reports whether the server says that there is no such stream.
func gone(ctx context.Context, js jetstream.JetStream, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := js.Stream(ctx, name)
	return errors.Is(err, jetstream.ErrStreamNotFound)
}
