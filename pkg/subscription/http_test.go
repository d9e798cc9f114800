package subscription

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/pkg/wire"
)

// posting is the body of a subscribe whose deliver.http has a URL, and members as
// text.
func posting(members string, others ...string) string {
	return request(append([]string{"deliver", `{"http":{"url":"https://example.com/hook"` + members + `}}`}, others...)...)
}

func TestDeliveryToAURLHasDefaults(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		body string
		want wire.HTTP
	}{
		{posting(""), wire.HTTP{URL: "https://example.com/hook", Method: "POST", Timeout: wire.Duration(10 * time.Second)}},
		{posting("", "ack_wait", `"3s"`), wire.HTTP{URL: "https://example.com/hook", Method: "POST", Timeout: wire.Duration(3 * time.Second)}},
		{
			posting(`,"method":"PUT","headers":{"X-Team":"triage"},"timeout":"30s","secret_ref":"my-hook_1"`),
			wire.HTTP{URL: "https://example.com/hook", Method: "PUT", Headers: map[string]string{"X-Team": "triage"}, Timeout: wire.Duration(30 * time.Second), SecretRef: "my-hook_1"},
		},
	} {
		req, bad := DecodeSubscribe([]byte(tt.body), "n", ns)
		if bad != nil {
			t.Errorf("%s: %v", tt.body, bad)
			continue
		}
		if diff := cmp.Diff(&tt.want, req.Deliver.HTTP); diff != "" || req.Deliver.Subject != "" {
			t.Errorf("%s: -want +got\n%s", tt.body, diff)
		}
		again, bad := DecodeSubscribe([]byte(tt.body), "n", ns)
		if bad != nil || !Equal(&req.Spec, &again.Spec) {
			t.Errorf("the same body is another subscription: %v", bad)
		}
		now := time.Now()
		rec := NewRecord("n", "u", req.Spec, Start{Sequence: 1, StoreCreated: now}, now)
		b, err := wire.Marshal(rec)
		if err != nil {
			t.Fatal(err)
		}
		read, err := DecodeRecord(Entry{Key: "n", Value: b, Revision: 1, Created: now}, ns)
		if err != nil || !Equal(&read.Spec, &req.Spec) {
			t.Errorf("stored and read: %v", err)
		}
	}
}

func TestWhatIsWrongWithDeliveryToAURLIsNamed(t *testing.T) {
	t.Parallel()
	const http = "deliver.http."
	for _, tt := range []struct{ body, field string }{
		{request("deliver", `{"http":{}}`), http + "url"},
		{request("deliver", `{"http":"https://example.com"}`), "deliver.http"},
		{posting(`,"verb":"POST"`), http + "verb"},
		{posting(`,"method":"GET"`), http + "method"},
		{posting(`,"method":"post"`), http + "method"},
		{posting(`,"method":"DELETE"`), http + "method"},
		{posting(`,"timeout":"99ms"`), http + "timeout"},
		{posting(`,"timeout":"-1s"`), http + "timeout"},
		{posting(`,"timeout":"31s"`), http + "timeout"},
		{posting(`,"timeout":"soon"`), http + "timeout"},
		{posting(`,"secret_ref":"../etc/passwd"`), http + "secret_ref"},
		{posting(`,"secret_ref":"` + strings.Repeat("x", 65) + `"`), http + "secret_ref"},
		{posting(`,"headers":["x"]`), http + "headers"},
		{posting(`,"headers":` + manyLabels(17)), http + "headers"},
		{posting(`,"headers":{"x":1}`), http + "headers.x"},
		{posting(`,"headers":{"x":"a\r\nb"}`), http + "headers.x"},
		{posting(`,"headers":{"x":"é"}`), http + "headers.x"},
		{posting(`,"headers":{"x":"a","X":"b"}`), http + "headers.x"},
		{posting(`,"headers":{"x":` + quoted(1025) + `}`), http + "headers.x"},
		{request("deliver", `{"subject":"x","http":{"url":"https://example.com"}}`), "deliver.subject"},
		{request("deliver", `{"stream":"T","http":{"url":"https://example.com"}}`), "deliver.stream"},
		{request("deliver", `{"mode":"publish","http":{"url":"https://example.com"}}`), "deliver.mode"},
		{request("deliver", `{"ack":"explicit","http":{"url":"https://example.com"}}`), "deliver.ack"},
		{posting("", "expire_after", `"1m"`), "expire_after"},
	} {
		_, bad := DecodeSubscribe([]byte(tt.body), "n", ns)
		if bad == nil || !slices.Equal(fieldsOf(bad.Details), []string{tt.field}) || bad.ErrCode != wire.CodeBadField {
			t.Errorf("%s: %v, want a fault of %s", tt.body, bad, tt.field)
		}
	}
}

func TestHeadersThatARequestMayNotBeGiven(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", "a b", "a:b", "a\r\n", "ü", strings.Repeat("x", 129), "Authorization", "cookie", "Proxy-Authorization", "proxy-x",
		"Host", "Connection", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Content-Length", "content-type",
		"CE-Id", "ce-x", "Webhook-Id", "webhook-signature", "Sluice-Epoch", "sluice-x", "User-Agent", "Idempotency-Key", "traceparent",
	} {
		b, _ := json.Marshal(map[string]string{name: "v"})
		_, bad := DecodeSubscribe([]byte(posting(`,"headers":`+string(b))), "n", ns)
		if bad == nil || len(bad.Details) != 1 || !strings.HasPrefix(bad.Details[0].Field, "deliver.http.headers") {
			t.Errorf("%q: %v", name, bad)
		}
	}
	for _, name := range []string{"X-Api-Version", "x_y", "Accept", "X-Sluice", "Prefer"} {
		if _, bad := DecodeSubscribe(fmt.Appendf(nil, "%s", posting(`,"headers":{"`+name+`":"v"}`)), "n", ns); bad != nil {
			t.Errorf("%s: %v", name, bad)
		}
	}
}

func TestURLsThatMayNotBeCalled(t *testing.T) {
	t.Parallel()
	for url, code := range map[string]wire.ErrCode{
		"":                                           wire.CodeBadField,
		"example.com":                                wire.CodeBadDelivery,
		"//example.com":                              wire.CodeBadDelivery,
		"file:///etc/passwd":                         wire.CodeBadDelivery,
		"gopher://example.com":                       wire.CodeBadDelivery,
		"nats://example.com":                         wire.CodeBadDelivery,
		"https://user:canary@example.com":            wire.CodeBadDelivery,
		"https://canary@example.com":                 wire.CodeBadDelivery,
		"https://":                                   wire.CodeBadField,
		"https:///path":                              wire.CodeBadField,
		"https:example.com":                          wire.CodeBadField,
		"https://example.com:0":                      wire.CodeBadField,
		"https://example.com:65536":                  wire.CodeBadField,
		"https://example.com:":                       wire.CodeBadField,
		"https://example.com:x":                      wire.CodeBadField,
		"https://example.com/#canary":                wire.CodeBadField,
		"https://example.com/#":                      wire.CodeBadField,
		"https://exa mple.com":                       wire.CodeBadField,
		"https://example.com/a b":                    wire.CodeBadField,
		"https://example.com/\r\nX: y":               wire.CodeBadField,
		"https://%31%32%37.0.0.1":                    wire.CodeBadField,
		"https://[::1":                               wire.CodeBadField,
		"https://example.com/%zz?canary":             wire.CodeBadField,
		"https://e.com/" + strings.Repeat("x", 2048): wire.CodeBadField,
	} {
		b, _ := json.Marshal(map[string]any{"http": map[string]string{"url": url}})
		_, bad := DecodeSubscribe([]byte(request("deliver", string(b))), "n", ns)
		if bad == nil || bad.ErrCode != code || !slices.Equal(fieldsOf(bad.Details), []string{"deliver.http.url"}) {
			t.Errorf("%q: %v, want %d", url, bad, code)
		} else if strings.Contains(fmt.Sprint(bad, bad.Details), "canary") {
			t.Errorf("%q: the answer repeats it: %v", url, bad.Details)
		}
	}
	for _, url := range []string{
		"https://example.com", "http://example.com:8080/a/b?c=d&e=%2F", "HTTPS://Example.com./", "https://[2606:4700::1111]:8443/x",
		"http://localhost:1", "https://bücher.example/ü",
	} {
		b, _ := json.Marshal(map[string]any{"http": map[string]string{"url": url}})
		if _, bad := DecodeSubscribe([]byte(request("deliver", string(b))), "n", ns); bad != nil {
			t.Errorf("%q: %v", url, bad)
		}
	}
}

func TestAChangeOfTheRateIsAChangeOverHTTPToo(t *testing.T) {
	t.Parallel()
	of := func(rate int) *wire.Spec {
		return &wire.Spec{Deliver: wire.Deliver{HTTP: &wire.HTTP{URL: "https://example.com"}, Rate: rate}}
	}
	if Equal(of(0), of(5)) || !Equal(of(5), of(5)) {
		t.Error("the rate makes no difference, or a difference where it is the same")
	}
}

func TestAChangeOfTheURLIsAChangeInPlace(t *testing.T) {
	t.Parallel()
	read := func(members string) *wire.Spec {
		req, bad := DecodeSubscribe([]byte(posting(members)), "n", ns)
		if bad != nil {
			t.Fatal(bad)
		}
		return &req.Spec
	}
	a := read("")
	subject, _ := DecodeSubscribe([]byte(request()), "n", ns)
	for _, b := range []*wire.Spec{
		&subject.Spec, read(`,"method":"PUT"`), read(`,"headers":{"x":"y"}`), read(`,"timeout":"9s"`), read(`,"secret_ref":"k"`),
	} {
		if Equal(a, b) || Equal(b, a) || len(NeedRestart(a, b)) > 0 {
			t.Errorf("%+v and %+v", a.Deliver, b.Deliver)
		}
	}
}
