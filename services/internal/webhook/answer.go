package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// Bounds of what is read of an answer.
const (
	maxBody     = 4096
	bodyTimeout = time.Second // once the status is there
	maxReason   = 256         // bytes of the body that become the reason
)

// read says what a response means, but for one with the status 410.
func (t *Target) read(resp *http.Response) wire.Answer {
	switch code := resp.StatusCode; {
	case code >= 200 && code < 300:
		return wire.Answer{Kind: wire.AnswerAck}
	case code >= 300 && code < 400:
		return failed(t.redirected(resp))
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		a := failed(t.reason(resp))
		a.Delay = retryAfter(resp.Header.Get("Retry-After"), time.Now())
		return a
	}
	return failed(t.reason(resp))
}

// failed is a delivery to be tried again after the backoff.
func failed(why string) wire.Answer {
	return wire.Answer{Kind: wire.AnswerNak, Delay: -1, Reason: why}
}

// reason says what was answered: the status, in our words, and the first bytes.
func (t *Target) reason(resp *http.Response) string {
	why := "answered " + status(resp.StatusCode)
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxBody)) // of a broken one what there is
	if text := t.clean(string(body)); text != "" {
		why += ": " + text
	}
	return why
}

// redirected says what to do about a redirect.
func (t *Target) redirected(resp *http.Response) string {
	why := "answered " + status(resp.StatusCode) + ": redirects are not followed; set deliver.http.url to where it leads"
	if to, err := resp.Location(); err == nil {
		why += ", " + t.clean(shown(to))
	}
	return why
}

// status is a code with the standard's words for it, and not the server's.
func status(code int) string {
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}

// clean makes a reason of what a stranger wrote: printable, in one line, short,
// and without what it may repeat of the request that is a secret.
func (t *Target) clean(text string) string {
	text = strings.Join(strings.Fields(t.hide.Replace(text)), " ")
	if len(text) > maxReason {
		text = text[:maxReason] + "…"
	}
	return strings.Map(printable, strings.ToValidUTF8(text, ""))
}

// minHidden is the length from which a value could be a secret, and hiding it
// makes no riddle of a text.
const minHidden = 8

// hider hides the query of a URL, and the values that the user gave in it and as
// headers.
func hider(u *url.URL, headers map[string]string) *strings.Replacer {
	var pairs []string
	hide := func(value string) {
		if len(value) >= minHidden {
			pairs = append(pairs, value, "…")
		}
	}
	hide(u.RawQuery)
	for _, values := range u.Query() {
		for _, v := range values {
			hide(v)
			hide(url.QueryEscape(v))
		}
	}
	for _, v := range headers {
		hide(v)
	}
	return strings.NewReplacer(pairs...)
}

func printable(r rune) rune {
	if !strconv.IsPrint(r) {
		return -1
	}
	return r
}

// unanswered says why a request has no response.
func (t *Target) unanswered(ctx context.Context, err error) wire.Answer {
	var whole *url.Error // its text has the URL
	if errors.As(err, &whole) {
		err = whole.Err
	}
	var name *net.DNSError // its text has the address of the resolver
	switch {
	case errors.Is(err, errNotAllowed):
		t.sender.log.Warn().Err(err).Str("subscription", t.Name).Str("url", shown(t.url)).Msg("address refused")
		return failed(errNotAllowed.Error())
	case ctx.Err() != nil:
		return failed(fmt.Sprintf("no answer within %s", t.HTTP.Timeout))
	case errors.As(err, &name):
		return failed("the name of the host is not found: " + name.Err)
	}
	return failed("no answer: " + t.clean(err.Error()))
}

// retryAfter reads the header of that name: seconds, or a date. It is at most
// wire.MaxNakDelay, and -1 where there is none. One that asks for no wait is none:
// the backoff is for the host's own good.
func retryAfter(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	wait := time.Duration(-1)
	if seconds, err := strconv.ParseUint(v, 10, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		wait = time.Duration(min(seconds, uint64(wire.MaxNakDelay/time.Second))) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		wait = at.Sub(now)
	}
	if wait <= 0 {
		return -1
	}
	return min(wait, wire.MaxNakDelay)
}

// shown is a URL as people may see it: without user info, query and fragment.
func shown(u *url.URL) string {
	v := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if u.RawQuery != "" {
		v.RawQuery = "…"
	}
	return v.String()
}
