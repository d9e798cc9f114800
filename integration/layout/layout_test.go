package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// list returns the packages of the whole repository.
func list(t *testing.T) []Package {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json", "./...")
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var ps []Package
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		switch err := dec.Decode(&p); {
		case errors.Is(err, io.EOF):
			return ps
		case err != nil:
			t.Fatalf("read go list: %v", err)
		}
		ps = append(ps, p)
	}
}

// read looks at the files of p.
func read(t *testing.T, p Package) []File {
	t.Helper()
	var files []File
	for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles) {
		src, err := os.ReadFile(filepath.Join(p.Dir, name))
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), name, src, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, File{
			Name:  path(p.ImportPath) + "/" + name,
			Lines: bytes.Count(src, []byte("\n")),
			Test:  strings.HasSuffix(name, "_test.go"),
			Doc:   parsed.Doc != nil && parsed.Doc.Text() != "",
		})
	}
	return files
}

func TestTheRepositoryHasItsShape(t *testing.T) {
	t.Parallel()
	ps := list(t)
	if len(ps) < 10 {
		t.Fatalf("go list finds %d packages: that cannot be all", len(ps))
	}
	for _, fault := range CheckImports(ps) {
		t.Error(fault)
	}
	excepted := exempt()
	for _, p := range ps {
		found := CheckFiles(path(p.ImportPath), read(t, p))
		for _, name := range p.GoFiles {
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, CheckSizes(path(p.ImportPath), set, file)...)
		}
		for _, excess := range found {
			if exempt()[excess.What] == "" {
				t.Error(excess.Fault)
			}
			delete(excepted, excess.What)
		}
	}
	for what := range excepted {
		t.Errorf("%s is exempted, but it is within the limit or does not exist: take it off the list", what)
	}
}

func TestWhatIsTooLargeIsFound(t *testing.T) {
	t.Parallel()
	fields := func(n int) string {
		return "type t struct {" + strings.Repeat("a, b int;", n/2) + strings.Repeat("E;", n%2) + "}"
	}
	lines := func(n int) string { return "func f() {" + strings.Repeat("\n", n-1) + "}" }
	for _, tt := range []struct {
		dir, code string
		want      string // "": nothing is wrong
	}{
		{"pkg/x", fields(MaxFields), ""},
		{"pkg/x", fields(MaxFields + 1), "pkg/x.t: fields"},
		{"services/x", fields(MaxFields + 2), "services/x.t: fields"},
		{"integration/x", fields(MaxFields + 1), ""},
		{"pkg/x", lines(MaxFuncLines), ""},
		{"pkg/x", lines(MaxFuncLines + 1), "pkg/x.f: lines"},
		{"integration/x", lines(MaxFuncLines + 1), "integration/x.f: lines"},
		{"pkg/x", "func (t *t) f(a, b, c, d, e int) {}", ""},
		{"pkg/x", "func (t *t) f(a, b, c int, d, e, f string) {}", "pkg/x.t.f: parameters"},
		{"pkg/x", "func (t t[V]) f(int, int, int, int, int, int) {}", "pkg/x.t.f: parameters"},
		{"pkg/x", "type t struct { ctx context.Context }", "pkg/x.t: context"},
		{"pkg/x", "type t struct { jetstream.Context }", ""},
	} {
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, "x.go", "package x\n"+tt.code, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, excess := range CheckSizes(tt.dir, set, file) {
			got = append(got, excess.What)
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %s: found %q, want %q", tt.dir, tt.code, got, tt.want)
		}
	}
}

func TestEachImportIsJudgedByWhereItIsAndWhatItImports(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		from, to   string
		code, test bool // allowed in code, in tests
	}{
		{"pkg/bus", "pkg/wire", true, true},
		{"pkg/service", "pkg/bus", true, true},
		{"services/registry", "services/registry/registry", true, true},
		{"services/registry", "pkg/service", true, true},
		{"services/emitter/emitter", "services/emitter/internal/lane", true, true},
		{"services/internal/reader", "services/internal/match", true, true},
		{"services/replayer/replayer", "services/internal/reader", true, true},
		{"services/internal/reader", "services/emitter/emitter", false, false},
		{"services/internal/reader", "services/emitter/internal/claim", false, false},
		{"services/standalone", "services/emitter/emitter", true, true},
		{"integration/harness", "services/emitter/emitter", true, true},
		{"integration/harness", "pkg/natstest", true, true},
		{"pkg/bus", "pkg/natstest", false, true},
		{"pkg/natstest", "pkg/natsd", true, true},
		{"services/emitter/emitter", "pkg/natstest", false, true},
		{"services/standalone", "pkg/natstest", false, true},
		{"pkg/wire", "pkg/bus", false, true},
		{"pkg/service", "services/registry/registry", false, false},
		{"pkg/service", "integration/harness", false, false},
		{"services/registry/registry", "services/emitter/emitter", false, false},
		{"services/registry", "services/emitter/emitter", false, false},
		{"services/registry/registry", "services/registryx/registryx", false, false},
		{"services/registry/registry", "integration/harness", false, false},
		{"services/standalone", "integration/harness", false, false},
		{"services/emitter/internal/lane", "services/emitter/emitter", false, true},
	} {
		for _, test := range []bool{false, true} {
			p := Package{ImportPath: Module + "/" + tt.from}
			imports, allowed := []string{"fmt", Module + "/" + tt.to}, tt.code
			if test {
				p.XTestImports, allowed = imports, tt.test
			} else {
				p.Imports = imports
			}
			if faults := CheckImports([]Package{p}); (len(faults) == 0) != allowed {
				t.Errorf("%s -> %s (test: %v): faults %q, want allowed: %v", tt.from, tt.to, test, faults, allowed)
			}
		}
	}
}

func TestPackagesThatOnlyDecideHaveNoLockAndNoConnection(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		from, to string
		allowed  bool
	}{
		{"services/internal/pool/core", "sync", false},
		{"services/internal/pool/core", "github.com/nats-io/nats.go/jetstream", false},
		{"services/internal/checkpoint", "context", false},
		{"services/internal/limit", "net/http", false},
		{"services/internal/pool/core", "sync/atomic", true},
		{"services/internal/pool", "sync", true},
	} {
		p := Package{ImportPath: Module + "/" + tt.from, Imports: []string{"time", tt.to}}
		if faults := CheckImports([]Package{p}); (len(faults) == 0) != tt.allowed {
			t.Errorf("%s -> %s: faults %q, want allowed: %v", tt.from, tt.to, faults, tt.allowed)
		}
	}
}

func TestFilesThatAreTooLongAndCommentsThatAreNotOneAreFound(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files []File
		want  []string
	}{
		{"one comment and short files", []File{{Name: "doc.go", Doc: true}, {Name: "a.go", Lines: MaxLines}}, nil},
		{"no comment", []File{{Name: "a.go"}}, []string{"0 package comments"}},
		{
			"two comments, one in a test",
			[]File{{Name: "doc.go", Doc: true}, {Name: "a_test.go", Doc: true}},
			[]string{"2 package comments"},
		},
		{"a long file", []File{{Name: "doc.go", Doc: true, Lines: MaxLines + 1}}, []string{"doc.go has 401 lines"}},
		{"a test may be longer", []File{{Name: "doc.go", Doc: true}, {Name: "a_test.go", Lines: MaxTestLines, Test: true}}, nil},
		{"a long test", []File{{Name: "doc.go", Doc: true}, {Name: "a_test.go", Lines: MaxTestLines + 1, Test: true}}, []string{"a_test.go has 501 lines"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for i, excess := range CheckFiles("pkg/x", tt.files) {
				fault := excess.Fault
				if i < len(tt.want) && strings.Contains(fault, tt.want[i]) {
					fault = tt.want[i]
				}
				got = append(got, fault)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
