package emitter

import (
	"bytes"
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/bus"
	"github.com/sluicehq/sluice/pkg/mirror"
	"github.com/sluicehq/sluice/services/emitter/internal/claim"
)

// Entries of a later version may be many, and stay: each look meets them again.
func TestEntriesThatCannotBeReadAreNotSaidAtEveryLook(t *testing.T) {
	t.Parallel()
	s, _ := aside(t)
	var log bytes.Buffer
	s.log = zerolog.New(&log)
	s.rarely = bus.Rarely(s.log)
	kv := buckettest.New(0)
	for i := range 50 {
		if _, err := kv.Create(t.Context(), fmt.Sprint("s", i), []byte(`{"schema":99}`)); err != nil {
			t.Fatal(err)
		}
	}
	copies := mirror.New(kv, mirror.Options{Resync: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- copies.Run(ctx) }()
	<-copies.Synced()
	s.recordCopy, s.poolCopy = copies, copies
	for range 10 {
		for i := range 50 {
			v := claim.View{Me: s.instance}
			if s.decode(&v, fmt.Sprint("s", i)); v.Record != nil || !v.PoolNewer {
				t.Errorf("%+v", v)
			}
		}
	}
	if n := bytes.Count(log.Bytes(), []byte("cannot be read")); n < 1 || n > 5 {
		t.Errorf("said %d times, want a few", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
