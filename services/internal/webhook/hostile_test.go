package webhook

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluicehq/sluice/pkg/wire"
)

// raw runs a server that answers each request with text, and then does what after
// says with the connection.
func raw(t *testing.T, text string, after func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					return
				}
				_, _ = io.WriteString(c, text)
				after(c)
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

func closing(net.Conn) {}

// holding keeps a connection open until the other end closes it.
func holding(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// endless writes until the other end closes the connection.
func endless(c net.Conn) {
	for chunk := []byte(strings.Repeat("x", 1<<16)); ; {
		if _, err := c.Write(chunk); err != nil {
			return
		}
	}
}

func TestHostileAnswersAreBoundedAndSaySo(t *testing.T) {
	t.Parallel()
	const failure = "HTTP/1.1 500 X\r\n"
	for _, tt := range []struct {
		name   string
		text   string
		after  func(net.Conn)
		reason string // "": it is an ack
	}{
		{"an ack whose body never comes", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n", holding, ""},
		{"an ack whose body is endless", "HTTP/1.1 200 OK\r\n\r\n", endless, ""},
		{"an ack whose body is cut off", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx", closing, ""},
		{"an ack with broken chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", closing, ""},
		{"a failure whose body never comes", failure + "Content-Length: 10\r\n\r\nab", holding, "answered 500 Internal Server Error: ab"},
		{"a failure whose body is endless", failure + "\r\n", endless, "answered 500 Internal Server Error: xxxx"},
		{"a failure whose body is cut off", failure + "Content-Length: 10\r\n\r\nab", closing, "answered 500 Internal Server Error: ab"},
		{"a body that claims to be gzip", failure + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab", closing, "answered 500 Internal Server Error: ab"},
		{"no answer", "", holding, "no answer within 300ms"},
		{"half an answer", "HTTP/1.1 200 OK\r\nX: ", holding, "no answer within 300ms"},
		{"a closed connection", "", closing, "no answer: "},
		{"no HTTP", "SSH-2.0-OpenSSH_9.9\r\n", closing, "no answer: "},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", closing, "no answer: "},
		{"endless headers", "HTTP/1.1 200 OK\r\nX: ", endless, "no answer: "},
		{"endless interim answers", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 5000), holding, "no answer"},
		{"a switch of protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", holding, "answered 101 Switching Protocols"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := start(t, Config{})
			began := time.Now()
			timeout := within(patience)
			if strings.HasPrefix(tt.reason, "no answer") {
				timeout = within(300 * time.Millisecond)
			}
			a := b.outcome(b.target(raw(t, tt.text, tt.after), timeout), plain())
			want := wire.AnswerNak
			if tt.reason == "" {
				want = wire.AnswerAck
			}
			if a.Kind != want || !strings.HasPrefix(a.Reason, tt.reason) || len(a.Reason) > 400 {
				t.Errorf("%+v, want %v with %q", a, want, tt.reason)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
			eventually(t, "the slot is free", func() bool { return b.slots() == 0 })
		})
	}
}

// slots is how many workers there are.
func (b *bed) slots() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, h := range b.hosts {
		n += h.workers
	}
	return n
}

func TestRefusedConnectionsAndUnknownNamesAreFailures(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().String()
	_ = l.Close()
	b := start(t, Config{})
	for url, want := range map[string]string{
		"http://" + free:            "connection refused",
		"http://name.invalid":       "the name of the host is not found",
		"http://" + free + "/#frag": "connection refused",
	} {
		if a := b.outcome(b.target(url), plain()); a.Kind != wire.AnswerNak || a.Delay != -1 || !strings.Contains(a.Reason, want) {
			t.Errorf("%s: %+v, want %q", url, a, want)
		}
	}
}

func TestTLSIsVerified(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(srv.Close)
	trusted := x509.NewCertPool()
	trusted.AddCert(srv.Certificate())
	old := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10} //nolint:gosec // that it is refused is the test
	old.StartTLS()
	t.Cleanup(old.Close)
	plainly := serve(t, func(http.ResponseWriter, *http.Request) {})
	for _, tt := range []struct {
		name, url string
		roots     *x509.CertPool
		reason    string
	}{
		{"trusted", srv.URL, trusted, ""},
		{"by nobody we know", srv.URL, x509.NewCertPool(), "certificate signed by unknown authority"},
		{"for another name", strings.Replace(srv.URL, "127.0.0.1", "localhost", 1), trusted, "certificate is valid for"},
		{"too old", old.URL, trusted, "protocol version"},
		{"none", strings.Replace(plainly.URL, "http:", "https:", 1), trusted, "no answer: "},
	} {
		b := start(t, Config{Roots: tt.roots, Allow: []string{"127.0.0.0/8", "::1/128"}})
		a := b.outcome(b.target(tt.url), plain())
		if (a.Kind == wire.AnswerAck) != (tt.reason == "") || !strings.Contains(a.Reason, tt.reason) {
			t.Errorf("%s: %+v, want %q", tt.name, a, tt.reason)
		}
	}
}

func TestConnectionsAreUsedAgainAndHTTP2IsSpoken(t *testing.T) {
	t.Parallel()
	var conns atomic.Int32
	proto := make(chan string, 100)
	for _, two := range []bool{false, true} {
		conns.Store(0)
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			proto <- r.Proto
			_, _ = w.Write([]byte("thanks"))
		}))
		srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				conns.Add(1)
			}
		}
		srv.EnableHTTP2 = two
		srv.StartTLS()
		roots := x509.NewCertPool()
		roots.AddCert(srv.Certificate())
		b := start(t, Config{Roots: roots})
		to := b.target(srv.URL)
		for range 5 {
			if a := b.outcome(to, plain()); a.Kind != wire.AnswerAck {
				t.Fatalf("%+v", a)
			}
			eventually(t, "the request is over", func() bool { return b.slots() == 0 })
			if got := <-proto; (got == "HTTP/2.0") != two {
				t.Errorf("spoke %s", got)
			}
		}
		if n := conns.Load(); n != 1 {
			t.Errorf("HTTP/2 %v: %d connections for 5 requests", two, n)
		}
		srv.CloseClientConnections()
		srv.Close()
	}
}

// A server may close a connection that it has kept alive at the moment that it is
// used again. That is no failure of the target: the request goes out once more.
func TestAConnectionThatIsCutWhenUsedAgainIsNoFailure(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	var requests atomic.Int32
	go func() {
		for n := 0; ; n++ {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = c.Close() }()
				r := bufio.NewReader(c)
				for i := 0; ; i++ {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, req.Body)
					requests.Add(1)
					if n == 0 && i == 1 {
						return // cut, with the request read
					}
					_, _ = fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			}()
		}
	}()
	b := start(t, Config{})
	to := b.target("http://" + l.Addr().String())
	for i := range 3 {
		if a := b.outcome(to, plain()); a.Kind != wire.AnswerAck {
			t.Errorf("request %d: %+v", i, a)
		}
		eventually(t, "the request is over", func() bool { return b.slots() == 0 })
	}
	if n := requests.Load(); n != 4 {
		t.Errorf("%d requests arrived, want 4: one of them twice", n)
	}
}

// A server may repeat all that it was sent. What is a secret in it stands in no
// reason and no log.
func TestSecretsThatAServerRepeatsAreHidden(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = fmt.Fprintf(w, "%s %s %s %s %v", r.URL, r.URL.RawQuery, r.URL.Query().Get("token"), r.Header.Get("X-Api-Key"), r.Header)
	})
	for _, url := range []string{srv.URL, "http://name.invalid", "http://10.0.0.1", strings.Replace(srv.URL, "http:", "https:", 1)} {
		b := start(t, Config{Secrets: secrets{"hook-key": {key("canary")[:46] + "YWJj"}}})
		to := b.target(url+"/hook?token=canary%2Fquery&x=1", signed, within(2*time.Second), func(d *Destination) {
			d.HTTP.Headers = map[string]string{"X-Api-Key": "canary-header"}
		})
		a := b.outcome(to, plain())
		if a.Kind != wire.AnswerNak || a.Reason == "" {
			t.Errorf("%s: %+v", url, a)
		}
		if text := a.Reason + b.log.String(); strings.Contains(text, "canary") || strings.Contains(text, "Y2FuYXJ5") {
			t.Errorf("%s: a secret shows: %s", url, text)
		}
	}
}
