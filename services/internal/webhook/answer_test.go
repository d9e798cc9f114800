package webhook

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/pool"
)

func TestEachStatusIsAnAnswer(t *testing.T) {
	t.Parallel()
	const ack, nak = wire.AnswerAck, wire.AnswerNak
	for _, tt := range []struct {
		status int
		header string // "Name: value"
		body   string
		kind   wire.AnswerKind
		delay  time.Duration
		reason string // in the answer's
	}{
		{status: 200, kind: ack},
		{status: 201, body: strings.Repeat("x", 100_000), kind: ack},
		{status: 204, kind: ack},
		{status: 299, kind: ack},
		{status: 301, header: "Location: /elsewhere", kind: nak, reason: "answered 301 Moved Permanently: redirects are not followed; set deliver.http.url to where it leads, http://127.0.0.1"},
		{status: 302, kind: nak, reason: "answered 302 Found: redirects are not followed"},
		{status: 307, header: "Location: https://u:p@other.example/x?token=12345678#f", kind: nak, reason: "leads, https://other.example/x?…"},
		{status: 304, kind: nak, reason: "answered 304"},
		{status: 400, body: "bad\r\n  event\x00\xff\u202e", kind: nak, reason: "answered 400 Bad Request: bad event"},
		{status: 404, body: "Cannot POST /hook?token=canary-query", kind: nak, reason: "answered 404 Not Found: Cannot POST /hook?…"},
		{status: 413, kind: nak, reason: "answered 413 Request Entity Too Large"},
		{status: 418, body: strings.Repeat("é", 10_000), kind: nak, reason: "answered 418 I'm a teapot: éé"},
		{status: 500, header: "Retry-After: 5", body: "out of order", kind: nak, reason: "answered 500 Internal Server Error: out of order"},
		{status: 429, header: "Retry-After: 5", body: "slower", kind: nak, delay: 5 * time.Second, reason: "answered 429 Too Many Requests: slower"},
		{status: 503, header: "Retry-After: 86400", kind: nak, delay: time.Hour, reason: "answered 503 Service Unavailable"},
		{status: 503, kind: nak, reason: "answered 503"},
		{status: 599, kind: nak, reason: "answered 599"},
		{status: 999, kind: nak, reason: "answered 999"},
	} {
		t.Run(fmt.Sprint(tt.status, tt.header), func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				calls.Add(1)
				if name, value, ok := strings.Cut(tt.header, ": "); ok {
					w.Header().Set(name, value)
				}
				w.WriteHeader(tt.status)
				_, _ = w.Write([]byte(tt.body))
			})
			b := start(t, Config{})
			a := b.outcome(b.target(srv.URL+"/hook?token=canary-query"), plain())
			wantDelay := tt.delay
			if tt.kind == nak && tt.delay == 0 {
				wantDelay = -1
			}
			if a.Kind != tt.kind || a.Delay != wantDelay || !strings.Contains(a.Reason, tt.reason) || (tt.reason == "") != (a.Reason == "") {
				t.Errorf("%+v, want kind %v, delay %s, reason %q", a, tt.kind, wantDelay, tt.reason)
			}
			if len(a.Reason) > 400 || strings.ContainsFunc(a.Reason, func(r rune) bool { return r < ' ' || r == '\ufffd' }) {
				t.Errorf("reason of %d bytes: %q", len(a.Reason), a.Reason)
			}
			if n := calls.Load(); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

func TestGoneIsToldAndCountsNothing(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusGone)
		_, _ = w.Write([]byte("moved away"))
	})
	b := start(t, Config{})
	gone := make(chan string, 1)
	to := b.target(srv.URL, func(d *Destination) { d.Gone = func(why string) { gone <- why } })
	err := to.Send(pool.Sent{Event: plain(), Attempt: 1, Answer: func(a wire.Answer) { t.Errorf("answered %+v", a) }})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case why := <-gone:
		if why != "answered 410 Gone: moved away" {
			t.Error(why)
		}
	case <-time.After(patience):
		t.Fatal("not told")
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)
	for v, want := range map[string]time.Duration{
		"": -1, "0": -1, "-5": -1, "soon": -1, "1.5": -1, "1e3": -1, "0x10": -1,
		"1": time.Second, " 120 ": 2 * time.Minute, "3600": time.Hour, "3601": time.Hour,
		"18446744073709551615": time.Hour, "99999999999999999999999999": time.Hour,
		"Fri, 27 Nov 2026 06:00:30 GMT":  30 * time.Second,
		"Friday, 27-Nov-26 06:00:30 GMT": 30 * time.Second,
		"Fri Nov 27 06:00:30 2026":       30 * time.Second,
		"Fri, 27 Nov 2026 05:59:00 GMT":  -1,
		"Fri, 27 Nov 9999 06:00:00 GMT":  time.Hour,
		"2026-11-27T06:00:30Z":           -1,
	} {
		if got := retryAfter(v, now); got != want {
			t.Errorf("%q: %s, want %s", v, got, want)
		}
	}
}
