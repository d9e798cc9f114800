package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/sluicehq/sluice/integration/harness"
	"github.com/sluicehq/sluice/pkg/natstest"
	"github.com/sluicehq/sluice/pkg/service"
	"github.com/sluicehq/sluice/pkg/wire"
	"github.com/sluicehq/sluice/services/standalone/standalone"
)

// readFile reads a file of the repository.
func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(harness.Root(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// files returns the files below dir whose names end so, by their paths from
// the repository's root.
func files(t *testing.T, dir, suffix string) map[string]string {
	t.Helper()
	root := harness.Root(t)
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, suffix) {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err == nil {
			found[name] = readFile(t, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// documents are the pages that people read.
func documents(t *testing.T) map[string]string {
	t.Helper()
	docs := files(t, "docs", ".md")
	for _, name := range []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} {
		docs[name] = readFile(t, name)
	}
	return docs
}

// sources are the files of Go code, tests or not.
func sources(t *testing.T, tests bool) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, dir := range []string{"pkg", "services", "integration", "deploy"} {
		for name, text := range files(t, dir, ".go") {
			if strings.HasSuffix(name, "_test.go") == tests {
				found[name] = text
			}
		}
	}
	return found
}

// all returns the first group of every match in the texts, sorted, each once.
func all(re *regexp.Regexp, texts ...string) []string {
	var found []string
	for _, text := range texts {
		for _, m := range re.FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

var fence = regexp.MustCompile("(?ms)^```(\\w*)\n(.*?)^```")

// prose is a page without its code blocks.
func prose(page string) string { return fence.ReplaceAllString(page, "") }

// blocks are the code blocks of a language.
func blocks(page, language string) (texts []string) {
	for _, m := range fence.FindAllStringSubmatch(page, -1) {
		if m[1] == language {
			texts = append(texts, m[2])
		}
	}
	return texts
}

var heading = regexp.MustCompile(`(?m)^#+ (.+)$`)

// anchors are the names by which the headings of a page are linked to.
func anchors(page string) (names []string) {
	for _, m := range heading.FindAllStringSubmatch(prose(page), -1) {
		names = append(names, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return names
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

func TestLinksBetweenDocumentsLeadSomewhere(t *testing.T) {
	t.Parallel()
	docs := documents(t)
	for name, page := range docs {
		links := all(link, prose(page))
		for _, to := range links {
			u, err := url.Parse(to)
			if err != nil || u.Scheme != "" {
				continue // of another site
			}
			target := name
			if u.Path != "" {
				target = filepath.Join(filepath.Dir(name), u.Path)
			}
			if _, err := os.Stat(filepath.Join(harness.Root(t), target)); err != nil {
				t.Errorf("%s: link to %s: %v", name, to, err)
			}
			if u.Fragment != "" && !slices.Contains(anchors(docs[target]), u.Fragment) {
				t.Errorf("%s: link to %s: there is no such heading; there are %v", name, to, anchors(docs[target]))
			}
		}
		if strings.HasPrefix(name, filepath.Join("docs", "adr")) && !strings.HasSuffix(name, "README.md") &&
			!slices.Contains(all(link, docs["docs/adr/README.md"]), filepath.Base(name)) {
			t.Errorf("docs/adr/README.md does not list %s", name)
		}
	}
}

var (
	envTag     = regexp.MustCompile("`env:\"([A-Z_]+)\"(?: envDefault:\"([^\"]*)\")?")
	composeVar = regexp.MustCompile(`\$\{([A-Z_]+):-([^}]*)\}`)
	envRow     = regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| (?:`([^`]*)` )?\\|")
)

// pairs are the first two groups of every match.
func pairs(re *regexp.Regexp, texts ...string) map[string]string {
	found := map[string]string{}
	for _, text := range texts {
		for _, m := range re.FindAllStringSubmatch(text, -1) {
			found[m[1]] = m[2]
		}
	}
	return found
}

func TestTheConfigurationPageHasEveryVariableAndItsDefault(t *testing.T) {
	t.Parallel()
	want := pairs(composeVar, readFile(t, "deploy/compose/compose.yaml"))
	maps.Copy(want, pairs(envTag, slices.Collect(maps.Values(sources(t, false)))...))
	if len(want) < 20 {
		t.Fatalf("found only %v", want)
	}
	if diff := cmp.Diff(pairs(envRow, readFile(t, "docs/configuration.md")), want); diff != "" {
		t.Errorf("docs/configuration.md (-) and the code (+) differ:\n%s", diff)
	}
	var own []string
	for name := range want {
		if strings.HasPrefix(name, "SLUICE_") {
			own = append(own, name)
		}
	}
	slices.Sort(own)
	if diff := cmp.Diff(own, service.Known()); diff != "" {
		t.Errorf("service.Known (+) is not what there is (-):\n%s", diff)
	}
}

var (
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	namedTest = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
)

func TestTestsThatDocumentsNameExist(t *testing.T) {
	t.Parallel()
	exist := all(testFunc, slices.Collect(maps.Values(sources(t, true)))...)
	for name, page := range documents(t) {
		named := all(namedTest, page)
		for _, test := range named {
			if !slices.Contains(exist, test) {
				t.Errorf("%s names %s, which does not exist", name, test)
			}
		}
		if slices.Contains([]string{"docs/guarantees.md", "docs/exesdb.md"}, name) && len(named) < 10 {
			t.Errorf("%s names only %v", name, named)
		}
	}
}

func TestEveryGuaranteeNamesATest(t *testing.T) {
	t.Parallel()
	sections := strings.Split(readFile(t, "docs/guarantees.md"), "\n## ")
	for _, s := range sections[1:] {
		title, text, _ := strings.Cut(s, "\n")
		if title != "Terms" && title != "What is not promised" && len(all(namedTest, text)) == 0 {
			t.Errorf("%q names no test", title)
		}
	}
}

// unwanted must not stand in a document.
var unwanted = regexp.MustCompile(`(?i)\b(?:TODO|FIXME|TBD|XXX|lorem ipsum)\b|(?:issue|pull request) #?\d+|[^&\w]#\d+\b|/(?:home|root|work|Users|tmp)/\w+`)

func TestDocumentsHoldNothingUnfinishedOrOfOneMachine(t *testing.T) {
	t.Parallel()
	for name, page := range documents(t) {
		for _, found := range unwanted.FindAllString(page, -1) {
			t.Errorf("%s: %q", name, found)
		}
	}
}

var makeTarget = regexp.MustCompile(`\bmake ([a-z][a-z-]+)\b`)

func TestTheReadmeIsShortAndNamesCommandsThatExist(t *testing.T) {
	t.Parallel()
	page := readFile(t, "README.md")
	if n := strings.Count(page, "\n"); n > 170 {
		t.Errorf("README.md has %d lines, want at most 170", n)
	}
	makefile := readFile(t, "Makefile")
	code := strings.Join(append(all(regexp.MustCompile("`([^`\n]+)`"), prose(page)), blocks(page, "sh")...), "\n")
	for _, target := range all(makeTarget, code) {
		if !strings.Contains(makefile, "\n"+target+":") {
			t.Errorf("README.md names `make %s`, which the Makefile does not have", target)
		}
	}
	_, after, ok := strings.Cut(page, "<!-- quickstart -->\n")
	if quickstart := blocks(after, "sh"); !ok || !strings.HasPrefix(after, "```sh\n") || strings.Count(quickstart[0], "\n") > 5 {
		t.Error("README.md has no quickstart of at most five commands")
	}
}

func TestTheInterfacePageHasEveryNameOfTheContract(t *testing.T) {
	t.Parallel()
	page := readFile(t, "docs/api.md")
	var code string
	for _, text := range files(t, "pkg/wire", ".go") {
		code += text
	}
	for _, names := range []struct{ what, re, form string }{
		{"err_code", `ErrCode = (3\d{5})`, "| %s |"},
		{"header", `Header\w+\s+= "(Sluice-[\w-]+)"`, "`%s`"},
		{"kind of issue", `Issue\w+\s+= "(\w+)"`, "| `%s` |"},
		{"state of a pool", `Pool\w+\s+PoolState = "(\w+)"`, "`%s`"},
	} {
		found := all(regexp.MustCompile(names.re), code)
		if len(found) < 5 {
			t.Errorf("%s: found only %v", names.what, found)
		}
		for _, name := range found {
			if name != "released" && name != wire.HeaderReplay && !strings.Contains(page, strings.Replace(names.form, "%s", name, 1)) {
				t.Errorf("docs/api.md has no %s %s", names.what, name)
			}
		}
	}
	for _, what := range all(regexp.MustCompile(`Adv\w+\s+= "([\w.]+)"`), code) {
		group, name, _ := strings.Cut(what, ".")
		if !regexp.MustCompile("(?m)^\\| `" + group + "` \\|.*`" + name + "`").MatchString(page) {
			t.Errorf("docs/api.md has no advisory %s", what)
		}
	}
}

var (
	instrument  = regexp.MustCompile(`(?:Counter|Gauge|Histogram|gauge)\("([a-z_.]+)"`)
	namedMetric = regexp.MustCompile("`(sluice_[a-z_]+)[`{]")
)

func TestMetricsThatDocumentsNameExist(t *testing.T) {
	t.Parallel()
	exist := all(instrument, slices.Collect(maps.Values(sources(t, false)))...)
	for i, name := range exist {
		exist[i] = "sluice_" + strings.ReplaceAll(name, ".", "_")
	}
	buckets := []string{"sluice_subscriptions", "sluice_pools", "sluice_sessions", "sluice_health", "sluice_replays"}
	for name, page := range documents(t) {
		for _, metric := range all(namedMetric, page) {
			bare := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(metric, "_total"), "_seconds"), "_bytes")
			if !slices.Contains(exist, bare) && !slices.Contains(buckets, metric) {
				t.Errorf("%s names %s; there are %v", name, metric, exist)
			}
		}
	}
}

var natsReq = regexp.MustCompile(`(?m)^nats req(?: -r)? (\S+) '([^'\n]*)'`)

// TestRequestsInDocumentsAreUnderstood sends every request that a document
// shows, in order. Of what it leads to only that may go wrong which depends on
// what happened before: a subscription that is not there, a revision that
// moved on.
func TestRequestsInDocumentsAreUnderstood(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.Store("GITHUB", "github.>")
	e.Store("COPIES", "copies.in")                                            // which documents deliver to
	e.Publish("github.Codertocat.issues.opened", `{"issue":{"comments":12}}`) // which documents ask about
	docs := documents(t)
	ask := func(doc, subject, body string) *wire.Error {
		t.Helper()
		msg, err := e.NC.Request(subject, []byte(body), 30*time.Second)
		if err != nil {
			t.Errorf("%s: %s %s: %v", doc, subject, body, err)
			return nil
		}
		var head wire.Head
		harness.Decode(t, msg.Data, &head)
		return head.Error
	}
	for _, name := range slices.Sorted(maps.Keys(docs)) {
		for _, block := range blocks(docs[name], "sh") {
			for _, m := range natsReq.FindAllStringSubmatch(block, -1) {
				bad := ask(name, m[1], m[2])
				if bad != nil && bad.ErrCode != wire.CodeNoSubscription && bad.ErrCode != wire.CodeConflict &&
					bad.ErrCode != wire.CodeNeedsRestart {
					t.Errorf("%s: %s %s: %v", name, m[1], m[2], bad)
				}
			}
		}
		for i, block := range blocks(docs[name], "json") {
			if !json.Valid([]byte(block)) {
				t.Errorf("%s: block %d is not JSON", name, i)
			} else if bad := ask(name, wire.DefaultNamespace.API(wire.VerbSubscribe, "example"), block); bad != nil {
				t.Errorf("%s: subscribe %s: %v", name, block, bad)
			}
		}
	}
	sheet := docs["docs/nats-cheatsheet.md"]
	for _, verb := range []string{
		wire.VerbSubscribe, wire.VerbUnsubscribe, wire.VerbGet, wire.VerbList, wire.VerbPause, wire.VerbResume, wire.VerbSeek,
		wire.VerbExplain,
		wire.VerbHealthCheck, wire.VerbHealthReport, wire.VerbHealthSubscription, wire.VerbHealthCleanup, wire.VerbHealthRepair,
	} {
		if !strings.Contains(sheet, "nats req -r "+wire.DefaultNamespace.API(verb)) {
			t.Errorf("docs/nats-cheatsheet.md does not show %s", verb)
		}
	}
}

// said is a text that is written once, at some time.
type said chan []byte

// Write is part of io.Writer.
func (s said) Write(b []byte) (int, error) {
	s <- bytes.Clone(b)
	return len(b), nil
}

func TestTheQuickstartIsWhatStandaloneSays(t *testing.T) {
	t.Parallel()
	common, err := service.ParseCommon(nil)
	if err != nil {
		t.Fatal(err)
	}
	text := make(said, 1)
	addr := harness.FreeAddr(t)
	cfg := standalone.Config{NATSAddr: addr, DataDir: filepath.Join(t.TempDir(), "data"), Out: text}
	r, err := standalone.New(cfg, nil, service.Discard(common))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }() // waited for below
	var got string
	natstest.Await(t, "standalone to say what to type", func() error {
		select {
		case b := <-text:
			got = string(b)
			return nil
		case err := <-done:
			done <- err
			t.Fatalf("standalone ended: %v", err)
			return nil
		default:
			return errors.New("nothing is said yet")
		}
	})
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	_, commands, _ := strings.Cut(strings.ReplaceAll(got, "nats -s nats://"+addr+" ", "nats "), "\n")
	_, after, _ := strings.Cut(readFile(t, "README.md"), "<!-- quickstart -->\n")
	if diff := cmp.Diff(blocks(after, "sh")[0], "make run\n"+commands); diff != "" {
		t.Errorf("the quickstart of README.md (-) and make run, with what it says (+), differ:\n%s", diff)
	}
}
