package service

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/clocktest"
)

func TestAProcessIsReadyWhenEveryCheckIsOK(t *testing.T) {
	t.Parallel()
	h := NewHealth()
	nats, store := h.Check("nats"), h.For("registry").Check("store")

	for _, step := range []struct {
		what    string
		do      func()
		ready   bool
		reasons string
	}{
		{"registered", func() {}, false, "nats: starting, registry.store: starting"},
		{"one is OK", nats.OK, false, "registry.store: starting"},
		{"both are OK", store.OK, true, ""},
		{"one fails", func() { nats.Fail("disconnected") }, false, "nats: disconnected"},
		{"one fails without saying why", func() { nats.Fail("") }, false, "nats: failed"},
		{"it recovers", nats.OK, true, ""},
		{"asked for again", func() { h.Check("nats") }, true, ""},
		{"draining", h.Drain, false, "drain: draining"},
	} {
		step.do()
		ready, reasons := h.Ready()
		if ready != step.ready || reasons != step.reasons {
			t.Errorf("%s: Ready = %v, %q, want %v, %q", step.what, ready, reasons, step.ready, step.reasons)
		}
	}
}

func TestChangedWakesWhoeverWaitsForReadiness(t *testing.T) {
	t.Parallel()
	clocktest.Run(t, func(*testing.T) {
		h := NewHealth()
		check := h.Check("nats")
		seen := make(chan struct{})
		go func() {
			defer close(seen)
			for {
				changed := h.Changed()
				if ready, _ := h.Ready(); ready {
					return
				}
				<-changed
			}
		}()
		synctest.Wait()
		check.OK()
		<-seen // else the bubble is deadlocked, which fails the test
	})
}

func TestTheListenerServesReadinessAndItsMux(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	h, mux := NewHealth(), http.NewServeMux()
	check := h.Check("nats")
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "dashboard") })
	listener := NewHTTP("127.0.0.1:0", h, mux, nil)
	done := make(chan error, 1)
	go func() { done <- listener.Run(ctx) }()

	addr, err := listener.Addr(ctx)
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + addr
	if got, want := awaitStatus(t, url+"/readyz", 503), "not ready: nats: starting\n"; got != want {
		t.Errorf("readyz = %q, want %q", got, want)
	}
	check.OK()
	if got, want := awaitStatus(t, url+"/readyz?verbose", 200), "[+] nats: ok\nready\n"; got != want {
		t.Errorf("readyz = %q, want %q", got, want)
	}
	awaitStatus(t, url+"/livez", 200)
	awaitStatus(t, url+"/metrics", 404) // none were given
	if got, want := awaitStatus(t, url+"/", 200), "dashboard"; got != want {
		t.Errorf("/ = %q, want %q", got, want)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestTheEndOfTheListenerEndsStreams(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	mux := http.NewServeMux()
	mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
		answer(w, http.StatusOK, "begins")
		_ = http.NewResponseController(w).Flush()
		cancel() // the process stops while this one streams
		<-r.Context().Done()
	})
	listener := NewHTTP("127.0.0.1:0", NewHealth(), mux, nil)
	done := make(chan error, 1)
	go func() { done <- listener.Run(ctx) }()
	addr, err := listener.Addr(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := awaitStatus(t, "http://"+addr+"/stream", 200), "begins"; got != want {
		t.Errorf("stream = %q, want %q", got, want)
	}
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

func TestAnAddressThatIsTakenIsAnErrorThatNamesIt(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	err = NewHTTP(taken.Addr().String(), NewHealth(), http.NewServeMux(), nil).Run(t.Context())
	if err == nil || !strings.Contains(err.Error(), taken.Addr().String()) || !strings.Contains(err.Error(), "SLUICE_HTTP_ADDR") {
		t.Errorf("Run = %v, want an error that names the variable and the address", err)
	}
}

func TestLocalAddrReachesAListenerOnEveryInterface(t *testing.T) {
	t.Parallel()
	got := make(map[string]string)
	want := map[string]string{
		":8080": "127.0.0.1:8080", "0.0.0.0:1": "127.0.0.1:1", "[::]:1": "[::1]:1",
		"10.0.0.1:80": "10.0.0.1:80", "localhost:80": "localhost:80",
	}
	for addr := range want {
		got[addr] = localAddr(addr)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
