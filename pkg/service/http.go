package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"
)

// Limits of the HTTP listener.
const (
	headerTimeout   = 5 * time.Second
	idleTimeout     = 2 * time.Minute
	writeTimeout    = time.Minute // to read a request and write its answer
	maxHeaderBytes  = 64 << 10
	shutdownTimeout = 5 * time.Second // for requests under way at the end
)

// HTTP is the listener of a process: /livez, /readyz and /metrics, and
// whatever else is on its mux. It is a Runner.
type HTTP struct {
	name   string
	from   string // the variable that addr comes from
	addr   string
	server *http.Server
	bound  chan struct{} // closed once listener is set
	listen net.Addr      // set before bound is closed
}

// NewHTTP returns a listener on addr (host:port, port 0 for any) that is not
// yet running. It adds to mux:
//
//	/livez    200 as long as the process answers at all
//	/readyz   200 when every check of h is OK, else 503; ?verbose lists all
//	/metrics  metrics, where that is not nil
func NewHTTP(addr string, h *Health, mux *http.ServeMux, metrics http.Handler) *HTTP {
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", h.serveReady)
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	s := newHTTP("http", "SLUICE_HTTP_ADDR", addr, mux)
	s.server.WriteTimeout = writeTimeout
	return s
}

func newHTTP(name, from, addr string, handler http.Handler) *HTTP {
	return &HTTP{name: name, from: from, addr: addr, bound: make(chan struct{}), server: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}}
}

// Name implements Runner.
func (s *HTTP) Name() string { return s.name }

// Run listens until ctx ends, then lets requests under way finish for at most
// five seconds. Their contexts end with ctx, so that streams do not hold the
// end up. It may be called once.
func (s *HTTP) Run(ctx context.Context) error {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("listen on %s %q: %w", s.from, s.addr, err)
	}
	s.listen = listener.Addr()
	close(s.bound)
	s.server.BaseContext = func(net.Listener) context.Context { return ctx }

	var serveErr error
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveErr = s.server.Serve(listener)
	}()
	select {
	case <-served:
		return fmt.Errorf("serve on %s: %w", s.listen, serveErr)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err = s.server.Shutdown(end)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.server.Close() // whoever is left had their time
	}
	<-served
	return err
}

// Addr returns the address that is listened on. It waits until there is one or
// ctx ends.
func (s *HTTP) Addr(ctx context.Context) (string, error) {
	select {
	case <-s.bound:
		return s.listen.String(), nil
	case <-ctx.Done():
		return "", fmt.Errorf("wait for the http listener: %w", ctx.Err())
	}
}

func (h *Health) serveReady(w http.ResponseWriter, r *http.Request) {
	ready, reasons := h.Ready()
	status, text := http.StatusOK, "ready\n"
	if !ready {
		status, text = http.StatusServiceUnavailable, "not ready: "+reasons+"\n"
	}
	if r.URL.Query().Has("verbose") {
		text = verbose(h.Results()) + text
	}
	answer(w, status, text)
}

func verbose(results []CheckResult) string {
	var b strings.Builder
	for _, r := range results {
		if r.Reason == "" {
			fmt.Fprintf(&b, "[+] %s: ok\n", r.Name)
		} else {
			fmt.Fprintf(&b, "[-] %s: %s\n", r.Name, r.Reason)
		}
	}
	return b.String()
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client is gone: nobody to tell
}
