package wire_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sluicehq/sluice/pkg/wire"
)

type header = map[string][]string

// target is one way of delivering.
type target struct {
	name    string
	deliver wire.Deliver
}

func targets() []target {
	return []target{
		{"any", wire.Deliver{Ack: wire.AckAny}},
		{"unset", wire.Deliver{}}, // as records before there was the field
		{"explicit", wire.Deliver{Ack: wire.AckExplicit}},
		{"stream", wire.Deliver{Ack: wire.AckAny, Stream: "T"}},
	}
}

func TestAnswersAreReadAsTheContractSays(t *testing.T) {
	t.Parallel()
	nak := func(reason string, delay time.Duration) wire.Answer {
		return wire.Answer{Kind: wire.AnswerNak, Reason: reason, Delay: delay}
	}
	term := func(reason string) wire.Answer { return wire.Answer{Kind: wire.AnswerTerm, Reason: reason} }
	ack, none := wire.Answer{Kind: wire.AnswerAck}, wire.Answer{Kind: wire.AnswerNone}
	wpi, captured, nobody := wire.Answer{Kind: wire.AnswerWPI}, wire.Answer{Kind: wire.AnswerCaptured}, wire.Answer{Kind: wire.AnswerNobody}
	const refused = "refused by the subscriber"
	bare := func(delay time.Duration) wire.Answer { return nak(refused+" (-NAK)", delay) }
	long := strings.Repeat("é", 1<<19)
	tooLong := strings.Repeat("é", wire.MaxAnswerReason/2)

	for _, tt := range []struct {
		name                  string
		body                  string
		header                header
		any, explicit, stream wire.Answer
	}{
		{"empty", "", nil, ack, none, none},
		{"+ACK", "+ACK", nil, ack, ack, none},
		{"+ACK and a line end", "+ACK\n", nil, ack, ack, none},
		{"+ACK and more", "+ACK done", nil, ack, ack, none},
		{"almost +ACK", "+ACKx", nil, ack, none, none},
		{"lower case", "+ack", nil, ack, none, none},
		{"+NXT", "+NXT", nil, ack, none, none},
		{"text", "ok", nil, ack, none, none},
		{"JSON", `{"ok":true}`, nil, ack, none, none},
		{"binary", "\x00\xff", nil, ack, none, none},
		{"a space first", " -NAK", nil, ack, none, none},

		{"-NAK", "-NAK", nil, bare(-1), bare(-1), none},
		{"-NAK and a line end", "-NAK\r\n", nil, bare(-1), bare(-1), none},
		{"-NAK with nanoseconds", `-NAK {"delay": 90000000000}`, nil, bare(90 * time.Second), bare(90 * time.Second), none},
		{"-NAK without space", `-NAK{"delay":5}`, nil, bare(5), bare(5), none},
		{"-NAK with no delay at all", `-NAK {"delay": 0}`, nil, bare(0), bare(0), none},
		{"-NAK with a text", `-NAK {"delay":"300ms"}`, nil, bare(300 * time.Millisecond), bare(300 * time.Millisecond), none},
		{"-NAK with a duration", "-NAK 900ms", nil, bare(900 * time.Millisecond), bare(900 * time.Millisecond), none},
		{"-NAK with a duration and a line end", "-NAK 2s\n", nil, bare(2 * time.Second), bare(2 * time.Second), none},
		{"-NAK for longer than an hour", "-NAK 3h", nil, bare(time.Hour), bare(time.Hour), none},
		{"-NAK for 292 years", `-NAK {"delay": 9223372036854775807}`, nil, bare(time.Hour), bare(time.Hour), none},
		{"-NAK for longer than a number holds", `-NAK {"delay": 1e400}`, nil, bare(time.Hour), bare(time.Hour), none},
		{"-NAK with an exponent", `-NAK {"delay": 1e9}`, nil, bare(time.Second), bare(time.Second), none},
		{"-NAK for less than nothing", `-NAK {"delay": -1}`, nil, nak(refused+`: {"delay": -1}`, -1), nak(refused+`: {"delay": -1}`, -1), none},
		{"-NAK with null", `-NAK {"delay":null}`, nil, nak(refused+`: {"delay":null}`, -1), nak(refused+`: {"delay":null}`, -1), none},
		{"-NAK with a reason", "-NAK the database is away", nil, nak(refused+": the database is away", -1), nak(refused+": the database is away", -1), none},
		{"-NAK with a long reason", "-NAK " + long, nil, nak(refused+": "+tooLong, -1), nak(refused+": "+tooLong, -1), none},
		{"-NAKx", "-NAKx", nil, nak(refused+": x", -1), nak(refused+": x", -1), none},
		{"-nak", "-nak", nil, nak(refused+": -nak", -1), nak(refused+": -nak", -1), none},
		{"-TERM", "-TERM", nil, nak(refused+": -TERM", -1), nak(refused+": -TERM", -1), none},
		{"-ERR", "-ERR 'no such \xffthing'", nil, nak(refused+": -ERR 'no such thing'", -1), nak(refused+": -ERR 'no such thing'", -1), none},
		{"a dash", "-", nil, nak(refused+": -", -1), nak(refused+": -", -1), none},

		{"+WPI", "+WPI", nil, wpi, wpi, none},
		{"+WPI and a line end", "+WPI\n", nil, wpi, wpi, none},
		{"almost +WPI", "+WPIx", nil, ack, none, none},
		{"+TERM", "+TERM", nil, term(""), term(""), none},
		{"+TERM with a reason", "+TERM no such customer\n", nil, term("no such customer"), term("no such customer"), none},
		{"+TERM of a megabyte", "+TERM " + long, nil, term(tooLong), term(tooLong), none},

		{
			"a service's error", "",
			header{"Nats-Service-Error": {"no stock"}, "Nats-Service-Error-Code": {"500"}},
			nak("answered with an error: no stock", -1), nak("answered with an error: no stock", -1), none,
		},
		{
			"a service's error in lower case", "+ACK",
			header{"nats-service-error": {"no stock"}},
			nak("answered with an error: no stock", -1), nak("answered with an error: no stock", -1), none,
		},
		{"a service's error without text", "ok", header{"Nats-Service-Error": {""}}, nak("answered with an error", -1), nak("answered with an error", -1), none},
		{"a service's error without value", "ok", header{"Nats-Service-Error": nil}, nak("answered with an error", -1), nak("answered with an error", -1), none},
		{"the code of a service's error alone", "ok", header{"Nats-Service-Error-Code": {"500"}}, ack, none, none},

		{"the server's no responders", "", header{"Status": {"503"}, "Nats-Subject": {"t"}}, nobody, nobody, nobody},
		{"an older server's", "", header{"Status": {"503"}}, nobody, nobody, nobody},
		{"a status and more", "", header{"Status": {"503"}, "Description": {"away"}}, ack, none, none},
		{"a status with another header", "", header{"Status": {"503"}, "X": {"y"}}, ack, none, none},
		{"a status twice", "", header{"Status": {"503", "503"}}, ack, none, none},
		{"another status", "", header{"Status": {"404"}}, ack, none, none},
		{"a status in lower case", "", header{"status": {"503"}}, ack, none, none},
		{"a status with a body", "+ACK", header{"Status": {"503"}}, ack, ack, none},
		{"a status with a refusal", "-NAK", header{"Status": {"503"}}, bare(-1), bare(-1), none},

		{"the target's receipt", `{"stream":"T","seq":7}`, nil, captured, captured, ack},
		{"with all that JetStream may say", ` {"stream":"T","domain":"hub","seq":7,"duplicate":true}`, nil, captured, captured, ack},
		{"another stream's receipt", `{"stream":"AUDIT","seq":7}`, nil, captured, captured, captured},
		{
			"a refusal", `{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"T","seq":0}`, nil,
			captured, captured, nak("stream T refused it (10077): maximum messages exceeded", -1),
		},
		{
			"a refusal that names no stream", `{"error":{"code":503,"err_code":10023,"description":"insufficient resources"}}`, nil,
			captured, captured, nak("stream T refused it (10023): insufficient resources", -1),
		},
		{"another stream's refusal", `{"error":{"err_code":10077},"stream":"AUDIT","seq":0}`, nil, captured, captured, captured},
		{"an error of somebody else", `{"error":{"code":400,"err_code":300002,"description":"no"}}`, nil, ack, none, none},
		{"an error below JetStream's", `{"error":{"err_code":9999}}`, nil, ack, none, none},
		{"an error above JetStream's", `{"error":{"err_code":30000}}`, nil, ack, none, none},
		{"a text as the error", `{"error":"no"}`, nil, ack, none, none},
		{"a receipt without sequence", `{"stream":"T"}`, nil, ack, none, none},
		{"a receipt with sequence 0", `{"stream":"T","seq":0}`, nil, ack, none, none},
		{"a receipt without stream", `{"seq":7}`, nil, ack, none, none},
		{"a receipt that is no object", `["T",7]`, nil, ack, none, none},
		{"a receipt of a megabyte", `{"stream":"T","seq":7,"x":"` + long + `"}`, nil, ack, none, none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			want := map[string]wire.Answer{"any": tt.any, "unset": tt.any, "explicit": tt.explicit, "stream": tt.stream}
			for _, to := range targets() {
				got := to.deliver.ReadAnswer([]byte(tt.body), tt.header)
				if want := want[to.name]; got != want {
					t.Errorf("%s: got %s, want %s", to.name, show(got), show(want))
				}
			}
		})
	}
}

// show is an answer with its text cut.
func show(a wire.Answer) any {
	a.Reason = a.Reason[:min(len(a.Reason), 100)]
	return struct {
		wire.Answer
		Length int
	}{a, len(a.Reason)}
}

func TestAnEmptyAnswerIsAnAckOnlyWhereAnyAnswerIs(t *testing.T) {
	t.Parallel()
	want := map[string]wire.AnswerKind{
		"any": wire.AnswerAck, "unset": wire.AnswerAck, "explicit": wire.AnswerNone, "stream": wire.AnswerNone,
	}
	for _, to := range targets() {
		if got := to.deliver.Empty(); got.Kind != want[to.name] {
			t.Errorf("%s: kind %d, want %d", to.name, got.Kind, want[to.name])
		}
	}
}

func FuzzReadAnswer(f *testing.F) {
	for _, body := range []string{
		"", "+ACK", "-NAK", `-NAK {"delay": 1e99}`, "-NAK 1s", "-x", "+TERM \xff", "+WPI", `{"stream":"T","seq":1}`,
		`{"error":{"err_code":10077},"stream":"T"}`, `{"error":{"err_code":1e3}}`,
	} {
		f.Add(body, "Status", "503")
	}
	f.Add("", "Nats-Service-Error", "x")
	f.Fuzz(func(t *testing.T, body, name, value string) {
		for _, to := range targets() {
			a := to.deliver.ReadAnswer([]byte(body), header{name: {value}})
			if a.Delay > wire.MaxNakDelay || len(a.Reason) > wire.MaxAnswerReason+100 || !utf8.ValidString(a.Reason) {
				t.Errorf("%s: %+v is out of bounds", to.name, a)
			}
			if to.deliver.Stream != "" && (a.Kind == wire.AnswerWPI || a.Kind == wire.AnswerTerm) {
				t.Errorf("a subscriber's word counts beside a stream that is the target: %+v", a)
			}
			if strings.HasPrefix(body, "-") && a.Kind == wire.AnswerAck {
				t.Errorf("%s: %q is an ack", to.name, body)
			}
			if to.deliver.Ack == wire.AckExplicit && a.Kind == wire.AnswerAck && !strings.HasPrefix(body, "+ACK") {
				t.Errorf("%q is an explicit ack", body)
			}
		}
	})
}
