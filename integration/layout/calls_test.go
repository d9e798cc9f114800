package layout

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

func TestAnswersAndJSONAreMadeInOnePlace(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, p := range list(t) {
		for _, base := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, base), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			name := path(p.ImportPath) + "/" + base
			seen[name] = true
			for _, fault := range CheckCalls(name, file) {
				t.Error(fault)
			}
		}
	}
	for _, allowed := range []map[string]string{readsReplies(), encodesJSON()} {
		for name := range allowed {
			if !seen[name] {
				t.Errorf("%s is excepted, but there is no such file", name)
			}
		}
	}
}

func TestCallsThatAnswerOrEncodeByThemselvesAreFound(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file, code string
		want       string // "": nothing is wrong
	}{
		{"services/x/x.go", `m.Respond(nil)`, "calls Respond"},
		{"services/x/x.go", `_ = m.RespondMsg(nil)`, "calls RespondMsg"},
		{"pkg/x/x.go", `r.RespondJSON(v)`, "calls RespondJSON"},
		{"pkg/x/x.go", `f := m.Respond; f(nil)`, "calls Respond"},
		{"services/x/x.go", `nc.Publish(m.Reply, nil)`, "looks at a reply subject"},
		{"services/x/x.go", `to := m.Reply; nc.Publish(to, nil)`, "looks at a reply subject"},
		{"services/x/x.go", `nc.Publish(req.Reply(), nil)`, "looks at a reply subject"},
		{"pkg/bus/responder.go", `nc.Publish(m.Reply, nil)`, ""},
		{"pkg/bus/responder.go", `m.Respond(nil)`, "calls Respond"},
		{"services/x/x.go", `json.Marshal(v)`, "calls json.Marshal"},
		{"services/x/x.go", `json.NewEncoder(w).Encode(v)`, "calls json.NewEncoder"},
		{"services/x/x.go", `json.Unmarshal(b, &v); wire.Marshal(v); replies.Answer(m, nil, nil)`, ""},
		{"pkg/wire/json.go", `json.NewEncoder(w).Encode(v)`, ""},
		{"services/x/x.go", `kv.WatchAll(ctx)`, "calls WatchAll"},
		{"services/x/x.go", `kv.ListKeys(ctx)`, "calls ListKeys"},
		{"services/x/x.go", `kv.Follow(ctx, f)`, ""},
		{"pkg/natstest/x.go", `m.Respond(nil)`, ""},
		{"integration/x/x.go", `m.Respond(nil)`, ""},
		{"services/internal/limit/x.go", `_ = time.Now()`, "calls time.Now"},
		{"services/internal/pool/core/x.go", `_ = time.Since(t)`, "calls time.Since"},
		{"services/internal/pool/x.go", `_ = time.Now()`, ""},
	} {
		file, err := parser.ParseFile(token.NewFileSet(), tt.file, "package x\nfunc f() { "+tt.code+" }", parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(CheckCalls(tt.file, file), "; ")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %s: faults %q, want %q", tt.file, tt.code, got, tt.want)
		}
	}
	src := "package x\nimport _ \"github.com/nats-io/nats.go/micro\""
	for name, allowed := range map[string]bool{"services/x/x.go": false, "pkg/bus/x.go": false, "pkg/endpoint/x.go": true} {
		file, err := parser.ParseFile(token.NewFileSet(), name, src, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := CheckCalls(name, file); (len(got) == 0) != allowed {
			t.Errorf("%s imports micro: %q", name, got)
		}
	}
}
