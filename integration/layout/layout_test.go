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
	for _, p := range ps {
		for _, fault := range CheckFiles(path(p.ImportPath), read(t, p)) {
			t.Error(fault)
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
		{"services/emitter/internal/reader", "services/emitter/internal/match", true, true},
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
		{"a long file", []File{{Name: "doc.go", Doc: true, Lines: MaxLines + 1}}, []string{"doc.go has 501 lines"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for i, fault := range CheckFiles("pkg/x", tt.files) {
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
