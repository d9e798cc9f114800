package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/pool"
)

// request makes the request of a delivery, signed.
func (t *Target) request(ctx context.Context, d pool.Sent) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, t.HTTP.Method, t.url.String(), bytes.NewReader(d.Event.Data))
	if err != nil {
		return nil, fmt.Errorf("deliver.http: no request can be made with method %s", t.HTTP.Method)
	}
	req.Header = headerOf(d.Event)
	for name, value := range t.HTTP.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("User-Agent", "Sluice/"+wire.Version)
	req.Header.Set(wire.HeaderSubscription, t.Name)
	if t.Replay == "" {
		req.Header.Set(wire.HeaderEpoch, t.epoch)
	} else {
		req.Header.Set(wire.HeaderReplay, t.Replay) // its epochs are not those of live delivery
	}
	req.Header.Set(wire.HeaderAttempt, strconv.Itoa(d.Attempt))
	// A connection that was kept alive may have been closed at the other end just
	// now. This lets the transport try another one, and is not sent.
	req.Header["Idempotency-Key"] = []string{}
	return req, t.sign(req.Header, d.Event)
}

// maxKeys is how many keys are active at once: the new one and the old one, while
// receivers change from one to the other.
const maxKeys = 2

// Lengths of a key, as Standard Webhooks has them.
const (
	minKey = 24
	maxKey = 64
)

// sign sets the headers of Standard Webhooks. The id is the same for each attempt.
func (t *Target) sign(h http.Header, e *event.Event) error {
	id, now := pool.MessageID(e, t.Name, t.Replay), time.Now()
	h.Set(standardwebhooks.HeaderWebhookID, id)
	h.Set(standardwebhooks.HeaderWebhookTimestamp, strconv.FormatInt(now.Unix(), 10))
	if t.HTTP.SecretRef == "" {
		return nil
	}
	words, err := t.sender.secrets.Words(t.HTTP.SecretRef)
	if err != nil {
		return err
	}
	if len(words) > maxKeys {
		return fmt.Errorf("secret %q has %d keys: want one, or two while they change", t.HTTP.SecretRef, len(words))
	}
	signatures := make([]string, len(words))
	for i, word := range words {
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(word, "whsec_"))
		if err != nil || len(key) < minKey || len(key) > maxKey {
			return fmt.Errorf("secret %q: key %d: want whsec_ and %d to %d bytes in base64", t.HTTP.SecretRef, i+1, minKey, maxKey)
		}
		hook, err := standardwebhooks.NewWebhookRaw(key)
		if err == nil {
			signatures[i], err = hook.Sign(id, now, e.Data)
		}
		if err != nil {
			return fmt.Errorf("sign with secret %q: %w", t.HTTP.SecretRef, err)
		}
	}
	h.Set(standardwebhooks.HeaderWebhookSignature, strings.Join(signatures, " "))
	return nil
}

// Headers of the event that are passed on beside those of CloudEvents and Sluice.
// What else a publisher wrote could mean something to the receiver's server.
func passed(name string) bool {
	switch strings.ToLower(name) {
	case "content-type", "content-encoding", "traceparent", "tracestate":
		return true
	}
	return false
}

const attributePrefix = "ce-"

// headerOf is what all requests of an event have: where it stands, and its
// attributes as CloudEvents' HTTP binding has them. Where the body is a CloudEvent
// itself, in structured mode, they are left out. Of names that differ in case
// alone the first in byte order counts, as it does in patterns.
func headerOf(e *event.Event) http.Header {
	h := make(http.Header, len(e.Fields())+12)
	isEvent := e.HeaderValue(wire.HeaderCESpecVersion) != ""
	contentType := ""
	for _, f := range e.Fields() {
		attribute, is := attributeName(f.Name)
		switch {
		case len(f.Values) == 0 || f.Values[0] == "":
		case is && attribute == "datacontenttype":
			contentType = f.Values[0]
		case is:
			setFirst(h, attributePrefix+attribute, encode(f.Values[0], isEvent))
		case passed(f.Name) || strings.HasPrefix(f.Name, "Sluice-"):
			setFirst(h, f.Name, encode(f.Values[0], true))
		}
	}
	if strings.HasPrefix(strings.ToLower(h.Get("Content-Type")), "application/cloudevents") {
		dropAttributes(h)
		return h
	}
	setFirst(h, "Content-Type", contentTypeOf(contentType, e.Data))
	setFirst(h, "ce-specversion", "1.0")
	setFirst(h, "ce-id", encode(e.ID(), false))
	setFirst(h, "ce-source", encode("urn:sluice:"+e.Store, false))
	setFirst(h, "ce-type", encode(e.Type, false))
	setFirst(h, "ce-subject", encode(e.Stream, false))
	setFirst(h, "ce-time", e.Time.UTC().Format(time.RFC3339Nano))
	return h
}

// setFirst sets a header, unless it is there or the value is empty.
func setFirst(h http.Header, name, value string) {
	if value != "" && h.Get(name) == "" {
		h.Set(name, value)
	}
}

// dropAttributes takes out the attributes.
func dropAttributes(h http.Header) {
	for name := range h {
		if _, is := attributeName(name); is {
			delete(h, name)
		}
	}
}

// attributeName is the name of the attribute that a header holds. Others than
// letters and digits are in none, and need not be allowed in a header.
func attributeName(header string) (name string, ok bool) {
	header = strings.ToLower(header)
	name, ok = strings.CutPrefix(header, attributePrefix)
	odd := strings.ContainsFunc(name, func(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') })
	return name, ok && name != "" && !odd
}

// contentTypeOf is the type of a body whose event may say what it is.
func contentTypeOf(said string, body []byte) string {
	switch {
	case said != "":
		return encode(said, true)
	case len(body) == 0:
		return ""
	case json.Valid(body):
		return "application/json"
	}
	return "application/octet-stream"
}

// encode writes a value as section 3.1.3.2 of CloudEvents' HTTP binding says.
// One that is encoded already has nothing but characters encoded that no header
// may hold.
func encode(v string, already bool) string {
	plain := func(c byte) bool {
		if already {
			return c >= ' ' && c <= '~'
		}
		return c > ' ' && c <= '~' && c != '"' && c != '%'
	}
	var out strings.Builder
	for i := range len(v) {
		if c := v[i]; plain(c) {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, "%%%02X", c)
		}
	}
	return out.String()
}
