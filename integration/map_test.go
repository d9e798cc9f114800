package integration

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/integration/harness"
)

// mapped are the pages that lead through the code.
func mapped(t *testing.T) map[string]string {
	t.Helper()
	pages := map[string]string{}
	for _, name := range []string{"docs/architecture.md", "docs/debugging.md", "docs/glossary.md", "CONTRIBUTING.md"} {
		pages[name] = prose(readFile(t, name))
	}
	return pages
}

func TestMap_HasEveryPackage(t *testing.T) {
	t.Parallel()
	page := readFile(t, "docs/architecture.md")
	for name := range sources(t, false) {
		dir := filepath.Dir(name)
		parent := filepath.Dir(dir) == "services" // a main.go of one call
		if !parent && !strings.HasPrefix(dir, "deploy") && !strings.Contains(page, "`"+dir+"`") {
			t.Errorf("docs/architecture.md does not say what %s is for", dir)
		}
	}
}

var codeSpan = regexp.MustCompile("`([^`\n]+)`")

func TestMap_NamesFilesThatExist(t *testing.T) {
	t.Parallel()
	file := regexp.MustCompile(`^[\w./-]+/\w+\.(?:go|md|sh|yaml)$`)
	for page, text := range mapped(t) {
		for _, name := range all(codeSpan, text) {
			if !file.MatchString(name) {
				continue
			}
			found := slices.ContainsFunc([]string{"", "services", "docs"}, func(dir string) bool {
				_, err := os.Stat(filepath.Join(harness.Root(t), dir, name))
				return err == nil
			})
			if !found {
				t.Errorf("%s names %s, which does not exist", page, name)
			}
		}
	}
}

func TestMap_NamesTargetsOfMakeThatExist(t *testing.T) {
	t.Parallel()
	page, makefile := readFile(t, "CONTRIBUTING.md"), readFile(t, "Makefile")
	code := strings.Join(append(all(codeSpan, prose(page)), blocks(page, "sh")...), "\n")
	for _, target := range all(makeTarget, code) {
		if !strings.Contains(makefile, "\n"+target+":") {
			t.Errorf("CONTRIBUTING.md names `make %s`, which the Makefile does not have", target)
		}
	}
}

var (
	method = regexp.MustCompile(`(?m)^func \(\w* ?\*?(\w+)(?:\[\w+\])?\) (\w+)\(`)
	field  = regexp.MustCompile(`(?m)^\t(\w+(?:, \w+)*) +[\w*.\[\]<{(]`)
	spoken = regexp.MustCompile(`"(\w+\.\w+)"`) // verbs and advisories
	member = regexp.MustCompile(`^(\w+)\.(\w+)$`)
)

// TestMap_NamesFunctionsThatExist looks for what is written as Type.name, of
// types that have methods.
func TestMap_NamesFunctionsThatExist(t *testing.T) {
	t.Parallel()
	types, names := map[string]bool{}, map[string]bool{}
	code := strings.Join(slices.Collect(maps.Values(sources(t, false))), "\n")
	for _, m := range method.FindAllStringSubmatch(code, -1) {
		types[m[1]], names[m[1]+"."+m[2]] = true, true
	}
	for _, m := range field.FindAllStringSubmatch(code, -1) {
		for _, f := range strings.Split(m[1], ", ") {
			names[f] = true
		}
	}
	for _, m := range spoken.FindAllStringSubmatch(code, -1) {
		names[m[1]] = true
	}
	if len(types) < 50 || len(names) < 1000 {
		t.Fatalf("found only %d types and %d names", len(types), len(names))
	}
	for page, text := range mapped(t) {
		for _, span := range all(codeSpan, text) {
			m := member.FindStringSubmatch(span)
			if m != nil && types[m[1]] && !names[span] && !names[m[2]] {
				t.Errorf("%s names %s, which does not exist", page, span)
			}
		}
	}
}
