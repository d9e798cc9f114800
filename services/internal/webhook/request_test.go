package webhook

import (
	"encoding/base64"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/internal/event"
	"github.com/sluicehq/sluice/services/internal/secret"
)

// seen is a request as a server got it.
type seen struct {
	method, path, body string
	header             http.Header
}

// received sends an event, and returns what arrived.
func received(t *testing.T, c Config, e *event.Event, change ...func(*Destination)) seen {
	t.Helper()
	got := make(chan seen, 1)
	srv := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Method, r.URL.RequestURI(), string(body), r.Header}
	})
	b := start(t, c)
	if a := b.outcome(b.target(srv.URL+"/in?a=b", change...), e); a.Kind != wire.AnswerAck {
		t.Fatalf("%+v", a)
	}
	return <-got
}

func TestARequestIsACloudEventInBinaryMode(t *testing.T) {
	t.Parallel()
	place := map[string]string{
		"Sluice-Subscription": "hook", "Sluice-Epoch": "7", "Sluice-Attempt": "1", "Sluice-Store": "GITHUB",
		"Sluice-Sequence": "42", "Sluice-Subject": "github.a.opened", "Sluice-Time": "2026-11-23T10:20:30.123456789Z",
		"Webhook-Id": "GITHUB:42:hook", "User-Agent": "Sluice/" + wire.Version,
	}
	for _, tt := range []struct {
		name  string
		event stored
		want  map[string]string // beside place
	}{
		{"built from nothing", stored{"github.a.opened", nil, `{"n": 1}`}, map[string]string{
			"Ce-Specversion": "1.0", "Ce-Id": "GITHUB:42", "Ce-Source": "urn:sluice:GITHUB", "Ce-Type": "opened",
			"Ce-Subject": "github.a", "Ce-Time": "2026-11-23T10:20:30.123456789Z", "Content-Type": "application/json",
		}},
		{"not JSON, no CloudEvent: values stand for themselves", stored{"github.a.opened", nats.Header{
			"Nats-Msg-Id": {"m 1"}, "ce-type": {`50% "off" é`}, "Content-Encoding": {"gzip"},
		}, "{"}, map[string]string{
			"Ce-Specversion": "1.0", "Ce-Id": "m%201", "Ce-Source": "urn:sluice:GITHUB", "Ce-Type": "50%25%20%22off%22%20%C3%A9",
			"Ce-Subject": "github.a.opened", "Ce-Time": "2026-11-23T10:20:30.123456789Z",
			"Content-Type": "application/octet-stream", "Content-Encoding": "gzip",
		}},
		{"a CloudEvent keeps what it says", stored{"github.a.opened", nats.Header{
			"ce-specversion": {"1.0"}, "CE-ID": {"7%20x"}, "ce-source": {"/cz\u00e9"}, "ce-type": {"t"}, "ce-subject": {"s"},
			"ce-time": {"2026-01-01T00:00:00Z"}, "ce-datacontenttype": {"text/xml"}, "ce-tenantid": {"a b"}, "ce-odd_name": {"x"},
			"ce-": {"x"}, "traceparent": {"00-01"}, "Authorization": {"Bearer x"}, "X-Other": {"y"}, "Host": {"evil"},
			"Transfer-Encoding": {"chunked"}, "Content-Length": {"1"}, "webhook-id": {"forged"}, "webhook-signature": {"v1,forged"},
		}, "<x/>"}, map[string]string{
			"Ce-Specversion": "1.0", "Ce-Id": "7%20x", "Ce-Source": "/cz%C3%A9", "Ce-Type": "t", "Ce-Subject": "s",
			"Ce-Time": "2026-01-01T00:00:00Z", "Content-Type": "text/xml", "Ce-Tenantid": "a b", "Traceparent": "00-01",
		}},
		{"a CloudEvent in structured mode is left alone", stored{"github.a.opened", nats.Header{
			"content-type": {"application/cloudevents+json; charset=utf-8"}, "ce-type": {"t"},
		}, `{"specversion":"1.0"}`}, map[string]string{"Content-Type": "application/cloudevents+json; charset=utf-8"}},
		{"no body", stored{"github.a.opened", nats.Header{"ce-type": {"t"}}, ""}, map[string]string{
			"Ce-Specversion": "1.0", "Ce-Id": "GITHUB:42", "Ce-Source": "urn:sluice:GITHUB", "Ce-Type": "t",
			"Ce-Subject": "github.a.opened", "Ce-Time": "2026-11-23T10:20:30.123456789Z",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := received(t, Config{}, made(tt.event))
			if r.method != "POST" || r.path != "/in?a=b" || r.body != tt.event.data {
				t.Errorf("%s %s %q", r.method, r.path, r.body)
			}
			got := map[string]string{}
			for name, values := range r.header {
				got[name] = strings.Join(values, " | ")
			}
			for _, name := range []string{"Webhook-Timestamp", "Content-Length", "Accept-Encoding"} {
				delete(got, name)
			}
			for name, value := range place {
				tt.want[name] = value
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestMethodAndHeadersAreTheSubscriptions(t *testing.T) {
	t.Parallel()
	r := received(t, Config{}, plain(), func(d *Destination) {
		d.HTTP.Method, d.HTTP.Headers = http.MethodPut, map[string]string{"x-team": "triage"}
	})
	if r.method != http.MethodPut || r.header.Get("X-Team") != "triage" {
		t.Errorf("%s, %v", r.method, r.header)
	}
}

func TestSubjectsThatNoHeaderMayHoldAreEncoded(t *testing.T) {
	t.Parallel()
	r := received(t, Config{}, made(stored{"a.\x01b.é", nil, "1"}))
	if got := r.header.Get("Sluice-Subject"); got != "a.%01b.%C3%A9" {
		t.Errorf("%q", got)
	}
}

// key is a key as secrets have it.
func key(text string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat(text, 24)))
}

func verify(t *testing.T, key string, r seen) error {
	t.Helper()
	hook, err := standardwebhooks.NewWebhook(key)
	if err != nil {
		t.Fatal(err)
	}
	return hook.Verify([]byte(r.body), r.header)
}

func signed(d *Destination) { d.HTTP.SecretRef = "hook-key" }

func TestRequestsAreSignedWithEachActiveKey(t *testing.T) {
	t.Parallel()
	e := made(stored{"a.b", nil, `{"body": "of the event"}`})
	one := received(t, Config{Secrets: secrets{"hook-key": {key("a")}}}, e, signed)
	if err := verify(t, key("a"), one); err != nil {
		t.Error(err)
	}
	if err := verify(t, key("b"), one); err == nil {
		t.Error("another key verifies")
	}
	two := received(t, Config{Secrets: secrets{"hook-key": {key("b"), strings.TrimPrefix(key("a"), "whsec_")}}}, e, signed)
	for _, k := range []string{key("a"), key("b")} {
		if err := verify(t, k, two); err != nil {
			t.Errorf("while keys change: %v", err)
		}
	}
	two.body += " "
	if err := verify(t, key("a"), two); err == nil {
		t.Error("another body verifies")
	}
	if r := received(t, Config{}, e); r.header["Webhook-Signature"] != nil || r.header.Get("Webhook-Timestamp") == "" {
		t.Errorf("without secret_ref: %v", r.header)
	}
}

func TestAKeyThatChangesIsUsedAtOnce(t *testing.T) {
	t.Parallel()
	got := make(chan seen, 1)
	srv := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{header: r.Header, body: string(body)}
	})
	dir := t.TempDir()
	b := start(t, Config{Secrets: secret.New(dir, nil)})
	to := b.target(srv.URL, signed)
	for i, k := range []string{"a", "b"} {
		path := filepath.Join(dir, "hook-key")
		if err := os.WriteFile(path, []byte(key(k)), 0o600); err != nil {
			t.Fatal(err)
		}
		at := time.Now().Add(time.Duration(i) * time.Second)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		b.outcome(to, plain())
		if err := verify(t, key(k), <-got); err != nil {
			t.Errorf("key %s: %v", k, err)
		}
	}
}

func TestNothingIsSentWithoutTheSignatureThatWasAskedFor(t *testing.T) {
	t.Parallel()
	const wrong = "want whsec_ and 24 to 64 bytes in base64"
	for _, tt := range []struct {
		words []string
		want  string
	}{
		{nil, `secret "hook-key": unsupported`},
		{[]string{key("a"), key("b"), key("c")}, "has 3 keys"},
		{[]string{"whsec_*canary*"}, "key 1: " + wrong},
		{[]string{key("a"), "whsec_Y2FuYXJ5"}, "key 2: " + wrong},
		{[]string{key("canary")}, "key 1: " + wrong},
		{[]string{"whsec_"}, "key 1: " + wrong},
	} {
		srv := serve(t, func(http.ResponseWriter, *http.Request) { t.Errorf("%s: sent", tt.want) })
		s := secrets{}
		if tt.words != nil {
			s["hook-key"] = tt.words
		}
		b := start(t, Config{Secrets: s})
		a := b.outcome(b.target(srv.URL, signed), plain())
		if a.Kind != wire.AnswerNak || !strings.Contains(a.Reason, tt.want) || strings.Contains(a.Reason+b.log.String(), "canary") {
			t.Errorf("%s: %+v, log %s", tt.want, a, b.log)
		}
	}
}
