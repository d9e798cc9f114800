package subscription

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sluicehq/sluice/pkg/strictjson"
	"github.com/sluicehq/sluice/pkg/wire"
)

// Limits of deliver.http.
const (
	DefaultHTTPTimeout = 10 * time.Second // ack_wait where that is less
	MinHTTPTimeout     = MinAckWait
	MaxURLLength       = 2048 // bytes
	MaxHTTPHeaders     = 16
	MaxHTTPHeader      = 1024 // bytes of a value
)

// completeHTTP fills in what deliver.http leaves out. The timeout depends on ack_wait.
func (f *fields) completeHTTP(s *wire.Spec) {
	h := s.Deliver.HTTP
	if h == nil {
		return
	}
	if !f.Given("deliver.http.method") {
		h.Method = http.MethodPost
	}
	if !f.Given("deliver.http.timeout") {
		h.Timeout = min(wire.Duration(DefaultHTTPTimeout), s.AckWait)
	}
}

// httpRules judges delivery to a URL, and what goes with it.
func (f *fields) httpRules(check func(path string, rule func(path string)), s *wire.Spec) {
	h := s.Deliver.HTTP
	if h == nil {
		return
	}
	check("deliver.http.url", func(p string) { f.url(p, h.URL) })
	check("deliver.http.method", func(p string) { f.OneOf(p, h.Method, http.MethodPost, http.MethodPut, http.MethodPatch) })
	check("deliver.http.headers", func(p string) { f.httpHeaders(p, h.Headers) })
	check("deliver.http.timeout", func(p string) { f.httpTimeout(p, s) })
	check("deliver.http.secret_ref", func(p string) {
		if h.SecretRef != "" && !wire.ValidName(h.SecretRef) {
			f.Add(p, "want the name of a secret: 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
		}
	})
	check("deliver.subject", func(p string) { f.besideHTTP(p, s.Deliver.Subject != "", "the target is a URL: leave one of them out") })
	check("deliver.stream", func(p string) { f.besideHTTP(p, s.Deliver.Stream != "", "the target is a URL: leave one of them out") })
	check("deliver.mode", func(p string) {
		f.besideHTTP(p, s.Deliver.Mode == wire.ModePublish, "a URL answers each request: want ack")
	})
	check("deliver.ack", func(p string) {
		f.besideHTTP(p, s.Deliver.Ack == wire.AckExplicit, "the status of its answer is what a URL says: want any")
	})
	check("expire_after", func(p string) {
		f.besideHTTP(p, s.ExpireAfter != 0, "nobody can tell whether anybody listens at a URL: want 0s")
	})
}

func (f *fields) besideHTTP(path string, given bool, reason string) {
	if given {
		f.Add(path, "%s", reason)
	}
}

// url judges where requests go. What it may be an address of is for the emitter to
// judge, when it is dialled.
func (f *fields) url(path, text string) {
	if text == "" {
		f.Add(path, "is required")
		return
	}
	odd := func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }
	u, err := url.Parse(text)
	switch {
	case len(text) > MaxURLLength:
		f.Add(path, "%s", longer(MaxURLLength))
	case !utf8.ValidString(text) || strings.ContainsFunc(text, odd) || err != nil:
		f.Add(path, "want a URL such as https://example.com/hook") // the cause would repeat it
	case u.Scheme != "https" && u.Scheme != "http":
		f.Refuse(wire.CodeBadDelivery, path, "want https or http")
	case u.Hostname() == "" || u.Opaque != "":
		f.Add(path, "names no host")
	case !validPort(u):
		f.Add(path, "want a port of 1 to 65535")
	case u.User != nil:
		f.Refuse(wire.CodeBadDelivery, path, "holds a user or password, which all who may read records would see: use secret_ref")
	case strings.Contains(text, "#"):
		f.Add(path, "a fragment is not sent: leave it out")
	}
}

func validPort(u *url.URL) bool {
	if strings.HasSuffix(u.Host, ":") {
		return false
	}
	n, err := strconv.ParseUint(u.Port(), 10, 16)
	return u.Port() == "" || err == nil && n > 0
}

func (f *fields) httpTimeout(path string, s *wire.Spec) {
	timeout := s.Deliver.HTTP.Timeout
	f.lasts(path, timeout, MinHTTPTimeout, MaxAckWait)
	if !f.Has(path) && !f.Has("ack_wait") && timeout > s.AckWait {
		f.Add(path, "must not be more than ack_wait: %s > %s", timeout, s.AckWait)
	}
}

func (f *fields) httpHeaders(path string, headers map[string]string) {
	if len(headers) > MaxHTTPHeaders {
		f.Add(path, "%d headers: want at most %d", len(headers), MaxHTTPHeaders)
		return
	}
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		at, value, key := strictjson.Join(path, name), headers[name], strings.ToLower(name)
		switch reason := headerNameFault(key); {
		case reason != "":
			f.Add(at, "%s", reason)
		case seen[key]:
			f.Add(at, "given twice, in another case")
		case len(value) > MaxHTTPHeader:
			f.Add(at, "%s", longer(MaxHTTPHeader))
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
			f.Add(at, "want printable ASCII")
		}
		seen[key] = true
	}
}

// headerNameFault says why a header may not be given, "" if it may.
func headerNameFault(name string) string {
	const token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
	switch {
	case name == "" || len(name) > MaxOrderHeader || strings.Trim(name, token) != "":
		return "want a header name of 1 to 128 letters, digits and !#$%&'*+-.^_`|~"
	case slices.Contains(secretHeaders(), name):
		return "would stand in the record, which others may read: sign with secret_ref instead"
	case slices.Contains(ownHeaders(), name), slices.ContainsFunc(ownPrefixes(), func(p string) bool { return strings.HasPrefix(name, p) }):
		return "is set by Sluice, by the event or by the connection"
	}
	return ""
}

func secretHeaders() []string { return []string{"authorization", "proxy-authorization", "cookie"} }

func ownPrefixes() []string { return []string{"ce-", "webhook-", "sluice-", "content-", "proxy-"} }

// ownHeaders are those that say what the request is, and those of one connection.
func ownHeaders() []string {
	return []string{
		"host", "user-agent", "connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect",
		"accept-encoding", "idempotency-key", "x-idempotency-key", "traceparent", "tracestate",
	}
}
