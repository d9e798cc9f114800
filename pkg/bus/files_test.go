package bus_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/sluicehq/sluice/pkg/bus"
)

func TestFilesThatCannotBeUsedAreAllToldAtOnce(t *testing.T) {
	t.Parallel()
	junk := write(t, "junk", []byte("secret"))
	const gone = "/nonexistent/file"
	for _, tt := range []struct {
		name string
		cfg  bus.Config
		want []string // nil: nothing is wrong
	}{
		{"no files", bus.Config{URL: "h"}, nil},
		{"a context", bus.Config{Context: natsContext(t, map[string]string{"url": "h", "inbox_prefix": "_INBOX.a"})}, nil},
		{"no such credentials", bus.Config{Creds: gone}, []string{"NATS_CREDS: ", gone}},
		{"credentials that are none", bus.Config{Creds: junk}, []string{"NATS_CREDS: "}},
		{"no such key", bus.Config{NKey: gone}, []string{"NATS_NKEY: ", gone}},
		{"a key that is none", bus.Config{NKey: junk}, []string{"NATS_NKEY: "}},
		{"no such authorities", bus.Config{CA: gone}, []string{"NATS_CA: ", gone}},
		{"authorities that are none", bus.Config{CA: junk}, []string{"NATS_CA: ", junk}},
		{"no such certificate", bus.Config{Cert: gone, Key: gone}, []string{"NATS_CERT, NATS_KEY: ", gone}},
		{"a certificate that is none", bus.Config{Cert: junk, Key: junk}, []string{"NATS_CERT, NATS_KEY: "}},
		{"no such context", bus.Config{Context: "nobody-has-this"}, []string{"NATS_CONTEXT: ", `"nobody-has-this"`}},
		{"no such file of a context", bus.Config{Context: gone}, []string{"NATS_CONTEXT: ", gone}},
		{"a context that is none", bus.Config{Context: junk}, []string{"NATS_CONTEXT: "}},
		{"credentials of a context", bus.Config{Context: natsContext(t, map[string]string{"creds": gone})}, []string{"NATS_CONTEXT: ", gone}},
		{"authorities of a context", bus.Config{Context: natsContext(t, map[string]string{"ca": gone})}, []string{"NATS_CONTEXT: ", gone}},
		{"inboxes of a context", bus.Config{Context: natsContext(t, map[string]string{"inbox_prefix": "$JS.API"})}, []string{"NATS_CONTEXT: ", "inbox_prefix"}},
		{
			"all of them",
			bus.Config{Context: "nobody-has-this", Creds: gone, NKey: gone, CA: gone, Cert: gone, Key: gone},
			[]string{"NATS_CONTEXT", "NATS_CREDS", "NATS_NKEY", "NATS_CA", "NATS_CERT"},
		},
	} {
		err := tt.cfg.CheckFiles()
		if (err == nil) != (tt.want == nil) {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		for _, w := range tt.want {
			if !strings.Contains(err.Error(), w) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s: %v, want %q in it and nothing of the files", tt.name, err, w)
			}
		}
	}
}

func TestAContextsInboxesAreNeverOtherSubjects(t *testing.T) {
	t.Parallel()
	cfg := bus.Config{Context: natsContext(t, map[string]string{"url": "nats://127.0.0.1:1", "inbox_prefix": "$KV.sluice_pools"})}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var log logBuffer
	_, err := bus.Dialer{
		Config: cfg, Name: "tester", Log: zerolog.New(&log), Waiting: func(string) { cancel() },
	}.Connect(ctx)
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "inbox_prefix") {
		t.Errorf("Connect = %v, want it to refuse the inboxes", err)
	}
}
