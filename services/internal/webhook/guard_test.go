package webhook

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluicehq/sluice/pkg/wire"
)

// dials records the addresses that are connected to. It must be called before
// anything is sent.
func (b *bed) dials() func() []string {
	var mu sync.Mutex
	var all []string
	b.dialer.connecting = func(address string) {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, address)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return all
	}
}

func TestAddressesThatAreNotPublicAreNeverDialled(t *testing.T) {
	t.Parallel()
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "[::1]", "localhost", "localhost.", "LOCALHOST", "0.0.0.0", "[::]", "0.1.2.3",
		"10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "100.127.255.254",
		"169.254.169.254", "169.254.1.1", "[fe80::1]", "[fe80::1%25lo]", "[fd00:ec2::254]", "[fc00::1]", "[fec0::1]",
		"100.100.100.200", "192.0.0.192", "168.63.129.16", "224.0.0.1", "239.255.255.255", "[ff02::1]", "255.255.255.255",
		"240.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "[2001:db8::1]", "[2001::1]", "[2002:7f00:1::]",
		"[64:ff9b::7f00:1]", "[64:ff9b:1::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]",
		// Spellings of 127.0.0.1 that some resolvers read.
		"2130706433", "0x7f000001", "017700000001", "0x7f.1", "127.1", "127.0.1", "0177.0.0.1", "127.0.0.1.",
		"①②⑦.⓪.⓪.①", "127。0。0。1",
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			b := start(t, Config{Allow: []string{"203.0.113.9/32", "127.0.0.1:1"}})
			dials := b.dials()
			a := b.outcome(b.target("http://"+host+":9/canary-path"), plain())
			if a.Kind != wire.AnswerNak || len(dials()) > 0 {
				t.Errorf("%+v, dialled %v", a, dials())
			}
			if ip := strings.Trim(host, "[]"); strings.Contains(a.Reason, "may not be called") && strings.Contains(a.Reason, ip) {
				t.Errorf("the reason tells the address: %s", a.Reason)
			}
		})
	}
}

func TestWhatTheOperatorNamesMayBeCalled(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	for _, tt := range []struct {
		allow, host string
		ok          bool
	}{
		{"127.0.0.0/8", "127.0.0.1:" + port, true},
		{"127.0.0.1/32", "localhost:" + port, true},
		{" LocalHost:" + port + " ", "LOCALHOST:" + port, true},
		{"127.0.0.1:" + port, "127.0.0.1:" + port, true},
		{"127.0.0.1:" + port, "localhost:" + port, false}, // the name was not named
		{"localhost:1", "localhost:" + port, false},
		{"128.0.0.0/8", "127.0.0.1:" + port, false},
		{"::/0", "127.0.0.1:" + port, false},
	} {
		b := start(t, Config{Allow: []string{tt.allow}})
		if a := b.outcome(b.target("http://"+tt.host), plain()); (a.Kind == wire.AnswerAck) != tt.ok {
			t.Errorf("%s with %s: %+v", tt.host, tt.allow, a)
		}
	}
}

func TestAnAllowListThatCannotBeReadIsRefused(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{"", "10.0.0.0", "10.0.0.0/33", "host", ":80", "host:", "host:0", "host:70000", "host:http", "http://host:80", "1.2.3.4/8/8"} {
		err := Config{Allow: []string{"10.0.0.0/8", entry}, PerHost: 1}.Validate()
		if err == nil || !strings.Contains(err.Error(), "SLUICE_HTTP_ALLOW: ") || !strings.Contains(err.Error(), `"`+entry+`"`) {
			t.Errorf("%q: %v", entry, err)
		}
	}
	if err := (Config{PerHost: 0}).Validate(); err == nil || !strings.Contains(err.Error(), "SLUICE_HTTP_PER_HOST") {
		t.Error(err)
	}
}

// A name may be public when it is looked at, and something else when it is
// dialled. It is the address that is dialled which is judged.
func TestANameThatChangesItsAddressIsJudgedAtEachDial(t *testing.T) {
	t.Parallel()
	srv := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") })
	port := srv.Listener.Addr().(*net.TCPAddr).Port
	allowed := netip.MustParseAddr("127.0.0.1")
	var now atomic.Pointer[netip.Addr]
	now.Store(&allowed)
	b := start(t, Config{Allow: []string{"127.0.0.1/32"}, Resolver: resolver(t, &now)})
	dials := b.dials()
	to := b.target("http://rebinds.example:" + itoa(port))
	if a := b.outcome(to, plain()); a.Kind != wire.AnswerAck {
		t.Fatalf("%+v", a)
	}
	refused := netip.MustParseAddr("127.0.0.2") // the server listens there too, as on all of 127.0.0.0/8
	now.Store(&refused)
	a := b.outcome(to, plain())
	if a.Kind != wire.AnswerNak || !strings.Contains(a.Reason, "SLUICE_HTTP_ALLOW") {
		t.Errorf("%+v", a)
	}
	if got := dials(); len(got) != 1 {
		t.Errorf("dialled %v", got)
	}
	if log := b.log.String(); !strings.Contains(log, "127.0.0.2") || !strings.Contains(log, "rebinds.example") {
		t.Errorf("the log does not tell the operator: %s", log)
	}
}

// resolver resolves every name to one address.
func resolver(t *testing.T, to *atomic.Pointer[netip.Addr]) *net.Resolver {
	t.Helper()
	l, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for q := make([]byte, 512); ; {
			n, from, err := l.ReadFrom(q)
			if err != nil {
				return
			}
			_, _ = l.WriteTo(dnsAnswer(q[:n], *to.Load()), from)
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", l.LocalAddr().String())
	}}
}

// dnsAnswer answers a question for an address of version 4 with ip, and others
// with nothing.
func dnsAnswer(q []byte, ip netip.Addr) []byte {
	end := 12 // of the question, whose name is a list of labels
	for q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5
	out := append([]byte(nil), q[:end]...)
	copy(out[2:], []byte{0x81, 0x80})         // an answer, recursion available
	copy(out[6:12], []byte{0, 0, 0, 0, 0, 0}) // no records
	if binary.BigEndian.Uint16(q[end-4:]) != 1 {
		return out
	}
	out[7] = 1
	out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4) // the name in the question, A, IN, TTL 0
	v4 := ip.As4()
	return append(out, v4[:]...)
}

func TestNoProxyOfTheEnvironmentIsUsed(t *testing.T) {
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") })
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	b := start(t, Config{})
	if a := b.outcome(b.target("http://name.invalid/"), plain()); a.Kind != wire.AnswerNak {
		t.Errorf("%+v", a)
	}
}

func TestAProxyThatTheOperatorWantsIsUsed(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 1)
	proxy := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		asked <- r.RequestURI
	})
	b := start(t, Config{Proxy: proxyTo(t, proxy.URL)})
	if a := b.outcome(b.target("http://name.invalid/x"), plain()); a.Kind != wire.AnswerAck {
		t.Fatalf("%+v", a)
	}
	if got := <-asked; got != "http://name.invalid/x" {
		t.Error(got)
	}
}
