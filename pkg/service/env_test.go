package service

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type inner struct {
	Size int `env:"SIZE" envDefault:"7"`
}

type parseConfig struct {
	Size  int           `env:"OUTER_SIZE" envDefault:"1" desc:"of the outer"`
	Wait  time.Duration `env:"WAIT" envDefault:"5s"`
	On    bool          `env:"ON" envDefault:"true"`
	Ratio float64       `env:"RATIO" envDefault:"0.5"`
	Left  uint64        `env:"LEFT"`
	Text  string        `env:"TEXT"`
	Inner inner         `envPrefix:"INNER_"`
}

func (c *parseConfig) Validate() error {
	if c.Size < 1 {
		return errors.New("OUTER_SIZE: want 1 or more")
	}
	return nil
}

func TestParseTakesDefaultsWhereAVariableIsMissingOrEmpty(t *testing.T) {
	t.Setenv("WAIT", "9h") // of the process: nobody asked for it
	want := parseConfig{Size: 1, Wait: 5 * time.Second, On: true, Ratio: 0.5, Text: "x", Inner: inner{8}}
	var got parseConfig
	if err := Parse(Env{"TEXT": "x", "WAIT": "", "INNER_SIZE": "8"}, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var none parseConfig
	if err := Parse(nil, &none); err != nil || none.Wait != 5*time.Second {
		t.Errorf("Parse(nil) gives %v, %v, want the defaults", none, err)
	}
}

func TestParseReportsAllFaultsByVariable(t *testing.T) {
	t.Parallel()
	var c parseConfig
	err := Parse(Env{
		"OUTER_SIZE": "-3", "INNER_SIZE": "big", "WAIT": "5", "ON": "maybe", "RATIO": "half", "LEFT": "-1",
	}, &c)
	if err == nil {
		t.Fatal("Parse = nil, want an error")
	}
	want := []string{
		`WAIT: "5": want a duration such as 500ms or 1m30s`,
		`ON: "maybe": want true or false`,
		`RATIO: "half": want a number`,
		`LEFT: "-1": want a whole number from 0`,
		`INNER_SIZE: "big": want a whole number`,
		`OUTER_SIZE: want 1 or more`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestParseDoesNotBlameADefaultForAValueThatCannotBeRead(t *testing.T) {
	t.Parallel()
	var c parseConfig
	err := Parse(Env{"OUTER_SIZE": "x"}, &c)
	if want := `OUTER_SIZE: "x": want a whole number`; err == nil || err.Error() != want {
		t.Errorf("Parse = %v, want %s alone", err, want)
	}
}

func TestParseRefusesWhatIsNoPointerToAStruct(t *testing.T) {
	t.Parallel()
	for _, into := range []any{nil, 1, parseConfig{}, new(int)} {
		if err := Parse(Env{}, into); err == nil {
			t.Errorf("Parse into %T = nil, want an error", into)
		}
	}
}

func TestCommonHasTheDefaultsOfTheContract(t *testing.T) {
	t.Parallel()
	got, err := ParseCommon(Env{})
	if err != nil {
		t.Fatal(err)
	}
	want := Common{
		Namespace: "sluice", Replicas: 1, SessionTTL: 10 * time.Second, NamesRetention: 24 * time.Hour,
		HTTPAddr: "127.0.0.1:8080", LogLevel: "info", LogFormat: "json",
	}
	want.Bounds = want.Bounds.WithDefaults()
	want.NATS.URL, want.NATS.Timeout, want.NATS.InboxPrefix = "nats://127.0.0.1:4222", 2*time.Second, "_INBOX"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestCommonRefusesWhatIsOutOfBounds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ variable, value string }{
		{"SLUICE_NAMESPACE", "Sluice"},
		{"SLUICE_NAMESPACE", "seventeen-letters"},
		{"SLUICE_REPLICAS", "0"},
		{"SLUICE_REPLICAS", "6"},
		{"SLUICE_SESSION_TTL", "999ms"},
		{"SLUICE_SESSION_TTL", "2h"},
		{"SLUICE_NAMES_RETENTION", "999ms"},
		{"SLUICE_NAMES_RETENTION", "8761h"},
		{"SLUICE_HTTP_ADDR", "8080"},
		{"SLUICE_HTTP_ADDR", "localhost:http"},
		{"SLUICE_HTTP_ADDR", "localhost:65536"},
		{"SLUICE_PPROF_ADDR", "6060"},
		{"SLUICE_PPROF_ADDR", ":6060"},
		{"SLUICE_PPROF_ADDR", "0.0.0.0:6060"},
		{"SLUICE_PPROF_ADDR", "192.0.2.1:6060"},
		{"SLUICE_PPROF_ADDR", "example.com:6060"},
		{"SLUICE_LOG_LEVEL", "INFO"},
		{"SLUICE_LOG_FORMAT", "text"},
		{"NATS_KEY", "key.pem"},
	} {
		_, err := ParseCommon(Env{tt.variable: tt.value})
		if err == nil || !strings.Contains(err.Error(), tt.variable) {
			t.Errorf("%s=%s: error is %v, want one that names the variable", tt.variable, tt.value, err)
		}
	}
}

func TestTheDefaultServerIsNotTakenForOneThatReplacesAContexts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env  Env
		want string
	}{
		{Env{}, "nats://127.0.0.1:4222"},
		{Env{"NATS_CONTEXT": "prod"}, ""},
		{Env{"NATS_CONTEXT": "prod", "NATS_URL": "nats://127.0.0.1:4222"}, "nats://127.0.0.1:4222"},
	} {
		if c, err := ParseCommon(tt.env); err != nil || c.NATS.URL != tt.want {
			t.Errorf("%v: URL %q (%v), want %q", tt.env, c.NATS.URL, err, tt.want)
		}
	}
}
