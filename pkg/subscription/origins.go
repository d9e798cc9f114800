package subscription

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// maxOrigins bounds the streams that a walk over origins looks at. What lies
// further back is caught by the count of hops that deliveries carry.
const maxOrigins = 64

// Origin is a stream that events of a store come from, or the store itself.
type Origin struct {
	Stream   string
	Subjects []string // that it captures
}

// Origins returns a store and the streams that its events come from, by mirror
// and sources, however far back, each once. Streams of other accounts and
// domains, and those that are gone, are left out. The error is ErrNoStore where
// there is no such store.
func Origins(ctx context.Context, js streams, store string) ([]Origin, error) {
	var found []Origin
	seen, queue := map[string]bool{store: true}, []string{store}
	for len(queue) > 0 && len(found) < maxOrigins {
		name := queue[0]
		queue = queue[1:]
		s, err := js.Stream(ctx, name)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound) && name == store:
			return nil, fmt.Errorf("store %q: %w", store, ErrNoStore)
		case errors.Is(err, jetstream.ErrStreamNotFound):
			continue
		case err != nil:
			return nil, fmt.Errorf("look at %q, from which events of store %q come: %w", name, store, err)
		}
		cfg := s.CachedInfo().Config
		found = append(found, Origin{Stream: name, Subjects: cfg.Subjects})
		for _, from := range feeders(cfg) {
			if !seen[from] {
				seen[from] = true
				queue = append(queue, from)
			}
		}
	}
	return found, nil
}

// feeders are the streams of the same account that a stream copies from.
func feeders(cfg jetstream.StreamConfig) (names []string) {
	sources := cfg.Sources
	if cfg.Mirror != nil {
		sources = append([]*jetstream.StreamSource{cfg.Mirror}, sources...)
	}
	for _, s := range sources {
		if s != nil && s.External == nil && s.Domain == "" {
			names = append(names, s.Name)
		}
	}
	return names
}

// CapturedBy returns the first of the origins that captures the literal subject
// of deliveries, and with which filter: what is delivered there becomes an event
// of the store again. Ok is false where none does, or subject is empty.
func CapturedBy(origins []Origin, subject string) (stream, filter string, ok bool) {
	if subject == "" {
		return "", "", false // it goes elsewhere than to a subject
	}
	for _, o := range origins {
		if filter := Captures(o.Subjects, subject); filter != "" {
			return o.Stream, filter, true
		}
	}
	return "", "", false
}
