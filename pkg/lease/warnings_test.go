package lease

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bucket/buckettest"
	"github.com/sluicehq/sluice/pkg/clocktest"
	"github.com/sluicehq/sluice/pkg/jsapi"
)

// lines is a log that is written by one goroutine and read by another.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

func TestAFullDiskIsSaidInPlainWordsAndNotAtEveryRenewal(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		full := &hooks{}
		kv := &client{KV: buckettest.New(ttl)}
		kv.before.set(func(ctx context.Context, op string) error { return full.call(ctx, op, "") })
		var log lines
		s, err := newSession(nil, kv, SessionConfig{Namespace: "sluice", Service: "emitter", Instance: "e1", TTL: ttl}, zerolog.New(&log))
		if err != nil {
			t.Fatal(err)
		}
		defer runUntilStopped(t, s.Run)()
		after(time.Second)
		full.set(func(_ context.Context, op string) error {
			if op == "get" {
				return nil
			}
			return jsapi.Full("the bucket", &jetstream.APIError{Code: 503, ErrorCode: 10023, Description: "insufficient resources"})
		})
		after(40 * time.Second)
		if n := log.count("session renewal failed"); n < 1 || n > 4 {
			t.Errorf("%d warnings in 40 s, want one for each thing that is new and one every 30 s", n)
		}
		if log.count("disk is full") == 0 {
			t.Error("no word of the disk")
		}
		full.set(nil)
		after(10 * time.Second)
		if log.count("session renewed again") != 1 {
			t.Error("nothing says that it is over")
		}
	})
}

func TestAnOutageIsNotSaidAtEveryRenewalOfALease(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		l, c := newCandidate(t, buckettest.New(ttl), "a", nil)
		var log lines
		l.log = zerolog.New(&log)
		runUntilStopped(t, func(ctx context.Context) error { return l.Run(ctx, untilDone) })
		after(time.Second)
		c.before.set(away)
		after(100 * time.Second)
		if renew, stand := log.count("lease renewal failed"), log.count("cannot stand for leader"); renew != 1 || stand < 1 || stand > 5 {
			t.Errorf("%d warnings about renewals and %d of standing for leader in 100 s, want one for what is new and one every 30 s", renew, stand)
		}
	})
}

func TestALeaseThatIsLostWithoutAFailureSaysWhy(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(t *testing.T) {
		l, c := newCandidate(t, buckettest.New(ttl), "a", nil)
		slept := newTerm(time.Now().Add(-ttl), ttl)
		err := l.renew(t.Context(), &slot{kv: c}, slept, nil)
		if !errors.Is(err, ErrLost) || !strings.HasSuffix(err.Error(), "not renewed in time: the process stood still") {
			t.Errorf("renew = %v", err)
		}
	})
}
