package integration

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/client"
	"github.com/sluicehq/sluice/pkg/wire"
)

// hook is a URL that events are posted to, and what it got.
type hook struct {
	*httptest.Server
	t   *testing.T
	key *standardwebhooks.Webhook

	mu      sync.Mutex
	status  func(n int, sequence string) int // of the n-th request, from 1
	n       int
	taken   map[string]int // by sequence: how often it was acked
	firsts  []string       // sequences, as they came for the first time
	streams map[string]string
}

const hookSecret = "whsec_Y2FuYXJ5LXNlY3JldC1jYW5hcnktc2VjcmV0LWNhbmFyeQ=="

func newHook(t *testing.T, status func(n int, sequence string) int) *hook {
	t.Helper()
	key, err := standardwebhooks.NewWebhook(hookSecret)
	if err != nil {
		t.Fatal(err)
	}
	h := &hook{t: t, key: key, status: status, taken: map[string]int{}, streams: map[string]string{}}
	h.Server = httptest.NewServer(h)
	t.Cleanup(h.Close)
	return h
}

func (h *hook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // cut off
	}
	if err := h.key.Verify(body, r.Header); err != nil {
		h.t.Errorf("signature: %v", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n++
	seq := r.Header.Get("Sluice-Sequence")
	if id := store + ":" + seq + ":" + r.Header.Get("Sluice-Subscription"); r.Header.Get("Webhook-Id") != id || r.Header.Get("Ce-Type") != "placed" {
		h.t.Errorf("headers: %v", r.Header)
	}
	if _, known := h.streams[seq]; !known {
		h.streams[seq] = r.Header.Get("Ce-Subject")
		h.firsts = append(h.firsts, seq)
	}
	code := h.status(h.n, seq)
	if code < 300 {
		h.taken[seq]++
	}
	w.WriteHeader(code)
}

// has reports how many events have been acked.
func (h *hook) has() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.taken)
}

// be changes how it answers.
func (h *hook) be(status func(int, string) int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status = status
}

func always(code int) func(int, string) int { return func(int, string) int { return code } }

// to is a subscription that posts to h.
func (h *hook) to() client.Spec {
	s := spec("")
	s.Deliver.HTTP = &client.HTTP{URL: h.URL + "/in", SecretRef: "hook"}
	return s
}

func hookVars() []string {
	return []string{"SLUICE_HTTP_ALLOW", "127.0.0.1/32", "SLUICE_SECRET_HOOK", hookSecret}
}

func TestEventsArePostedToAURLAndNoneIsLostWhereEmittersAreKilled(t *testing.T) {
	t.Parallel()
	const total, streams, rounds = 1500, 40, 3
	e := harness.New(t, harness.OnServer(harness.StartNATS(t)))
	e.Store(store, "orders.>")
	e.Start(wire.ServiceRegistry)
	h := newHook(t, func(n int, _ string) int { // one in some is refused
		if n%13 == 0 {
			return http.StatusInternalServerError
		}
		return http.StatusNoContent
	})
	s := h.to()
	s.Retry.MaxAttempts = new(int)
	s.AckWait = 5 * time.Second
	e.Subscribe("posted", s)
	emitter := e.Spawn(wire.ServiceEmitter, hookVars()...)
	for i := range rounds {
		e.PublishAll(orders(total/rounds, streams))
		e.Await("some to be posted", func() error {
			if n := h.has(); n < (2*i+1)*total/(2*rounds) {
				return fmt.Errorf("%d are", n)
			}
			return nil
		})
		emitter.Kill()
		emitter = e.Spawn(wire.ServiceEmitter, hookVars()...)
	}
	e.Await("all to be posted", func() error {
		if n := h.has(); n < total {
			return fmt.Errorf("%d of %d are", n, total)
		}
		return nil
	})
	e.AwaitFloor("posted", total)
	requireOrderOfFirsts(t, h)
	if got := advisories(t, e, wire.AdvEventParked, "posted"); len(got) > 0 {
		t.Errorf("%d events are parked", len(got))
	}
}

// requireOrderOfFirsts fails where a first delivery of a stream came before one of
// a lower sequence.
func requireOrderOfFirsts(t *testing.T, h *hook) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	last := map[string]int{}
	for _, seq := range h.firsts {
		var n int
		if _, err := fmt.Sscan(seq, &n); err != nil {
			t.Fatal(err)
		}
		if stream := h.streams[seq]; n < last[stream] {
			t.Errorf("%s: %d came after %d", stream, n, last[stream])
		} else {
			last[stream] = n
		}
	}
}

func TestAURLThatIsGonePausesItsSubscription(t *testing.T) {
	t.Parallel()
	e := setup(t, harness.Vars(hookVars()...))
	h := newHook(t, always(http.StatusGone))
	s := h.to()
	s.Retry.MaxAttempts = new(1)
	e.Subscribe("gone", s)
	e.PublishAll(orders(5, 5))
	e.Await("the pause", func() error {
		if !e.Get("gone").Subscription.Paused {
			return errors.New("it is not paused")
		}
		return nil
	})
	if a := awaitAdvisory(t, e, wire.AdvSubscriptionPaused, "gone"); !strings.Contains(a.Detail, "410 Gone") {
		t.Errorf("the advisory says %q", a.Detail)
	}
	h.be(always(http.StatusOK))
	if _, err := e.Client.Resume(e.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	e.Await("all to be posted", func() error {
		if n := h.has(); n < 5 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	if got := advisories(t, e, wire.AdvEventParked, "gone"); len(got) > 0 {
		t.Errorf("%d events are parked", len(got))
	}
}

// What an operator has not allowed is never called; the events wait, or are parked
// with the reason, and no secret shows anywhere.
func TestAURLThatIsNotAllowedIsNotCalledAndNoSecretShows(t *testing.T) {
	t.Parallel()
	e := setup(t, harness.Vars("SLUICE_SECRET_HOOK", hookSecret))
	h := newHook(t, func(int, string) int {
		t.Error("it was called")
		return http.StatusOK
	})
	s := h.to()
	s.Retry.MaxAttempts = new(1)
	s.Breaker = client.Breaker{Failures: 1000}
	e.Subscribe("refused", s)
	e.PublishAll(orders(1, 1))
	a := awaitAdvisory(t, e, wire.AdvEventParked, "refused")
	if !strings.Contains(fmt.Sprint(a), "SLUICE_HTTP_ALLOW") {
		t.Errorf("the advisory does not tell: %+v", a)
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(hookSecret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	names := e.JS.StreamNames(e.Context())
	for name := range names.Name() {
		for _, m := range e.Stored(name, ">") {
			if text := string(m.Data) + fmt.Sprint(m.Header); strings.Contains(text, hookSecret[6:20]) || strings.Contains(text, string(raw)) {
				t.Errorf("%s holds the secret: %s", name, text)
			}
		}
	}
}
