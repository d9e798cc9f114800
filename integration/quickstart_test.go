package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/integration/harness"
)

// quickstart returns the commands of the README's quickstart: the lines of the
// sh block that follows its marker.
func quickstart(t *testing.T) []string {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(harness.Root(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(readme), "<!-- quickstart -->")
	if !found {
		t.Fatal("README.md has no <!-- quickstart -->")
	}
	_, rest, opened := strings.Cut(rest, "```sh\n")
	block, _, closed := strings.Cut(rest, "```")
	if !opened || !closed {
		t.Fatal("README.md has no sh block after <!-- quickstart -->")
	}
	var commands []string
	for line := range strings.SplitSeq(block, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			commands = append(commands, line)
		}
	}
	return commands
}

// staysOn reports whether a command runs until somebody stops it.
func staysOn(command string) bool {
	for _, prefix := range []string{"make run", "go run ./services/standalone", "nats reply", "nats sub"} {
		if strings.HasPrefix(command, prefix) {
			return true
		}
	}
	return false
}

func TestTheQuickstartWorksAsTheReadmeHasIt(t *testing.T) {
	t.Parallel()
	commands := quickstart(t)
	if len(commands) > 5 || !staysOn(commands[0]) {
		t.Fatalf("the quickstart is %q: want at most five commands, the first of which starts Sluice", commands)
	}
	cli := harness.Program(t, "tools/natscli", "github.com/nats-io/natscli/nats")
	natsAddr, httpAddr := harness.FreeAddr(t), harness.FreeAddr(t)
	// The quickstart uses the default ports; only these say otherwise, so that
	// it runs beside anything.
	env := []string{
		"PATH=" + filepath.Dir(cli) + string(os.PathListSeparator) + os.Getenv("PATH"),
		"SLUICE_NATS_ADDR=" + natsAddr, "SLUICE_HTTP_ADDR=" + httpAddr, "SLUICE_DATA_DIR=" + t.TempDir(),
		"NATS_URL=nats://" + natsAddr, "NATS_CONTEXT=", "XDG_CONFIG_HOME=" + t.TempDir(),
	}
	s := shell{t: t, env: env}

	sluice := s.start(commands[0])
	harness.Await(t, "Sluice to be ready", func() error {
		return errors.Join(sluice.Ended(), harness.Ready(t, httpAddr))
	})
	requireServed(t, sluice, httpAddr)
	var subscriber *harness.Process
	for _, command := range commands[1:] {
		if staysOn(command) {
			subscriber = s.start(command)
			harness.Await(t, "the subscriber", func() error { return listening(subscriber) })
		} else {
			s.run(command)
		}
	}
	if subscriber == nil {
		t.Fatal("the quickstart starts no subscriber")
	}
	harness.Await(t, "the event at the subscriber", func() error {
		for _, want := range []string{"It works", "Sluice-Subscription: triage", "Sluice-Sequence: 1"} {
			if !strings.Contains(subscriber.Output.String(), want) {
				return fmt.Errorf("it shows no %q but %q", want, subscriber.Output)
			}
		}
		return subscriber.Ended()
	})

	services := s.run("nats service ls")
	for _, name := range []string{"sluice-registry", "sluice-emitter", "sluice-healthmon", "sluice-replayer"} {
		if !strings.Contains(services, name) {
			t.Errorf("nats service ls does not show %s:\n%s", name, services)
		}
	}
	// The answer was an ack: the pool has finished the event.
	harness.Await(t, "the ack in the pool", func() error {
		if got := s.run("nats req -r sluice.v1.api.subscription.get.triage ''"); !strings.Contains(got, `"floor":1`) {
			return fmt.Errorf("the answer is %s", got)
		}
		return nil
	})
}

// requireServed asks for everything that Sluice says is to be had over HTTP.
func requireServed(t *testing.T, sluice *harness.Process, addr string) {
	t.Helper()
	var urls []string
	harness.Await(t, "the text", func() error {
		urls = regexp.MustCompile(`http://`+regexp.QuoteMeta(addr)+`[^\s,]*`).FindAllString(sluice.Output.String(), -1)
		if len(urls) == 0 {
			return errors.Join(fmt.Errorf("it says %q", sluice.Output), sluice.Ended())
		}
		return nil
	})
	for _, url := range urls {
		if err := harness.Get(t, url); err != nil {
			t.Errorf("%s, which it promises: %v", url, err)
		}
	}
}

// listening reports an error until a subscriber of the nats CLI says that it listens.
func listening(p *harness.Process) error {
	if out := p.Output.String(); !strings.Contains(out, "Listening on") && !strings.Contains(out, "Subscribing on") {
		return errors.Join(fmt.Errorf("it says %q", out), p.Ended())
	}
	return nil
}

// shell runs commands from the root of the repository, as a user would.
type shell struct {
	t    *testing.T
	env  []string
	last *harness.Process
}

func (s *shell) start(command string) *harness.Process {
	s.t.Helper()
	s.last = harness.Exec(s.t, command, s.env, "sh", "-c", "cd "+harness.Root(s.t)+" && "+command)
	return s.last
}

// run runs a command to its end and returns what it said.
func (s *shell) run(command string) string {
	s.t.Helper()
	p := harness.Exec(s.t, command, s.env, "sh", "-c", "cd "+harness.Root(s.t)+" && "+command)
	if err := p.Wait(); err != nil {
		s.t.Fatalf("%s: %v\n%s", command, err, p.Output)
	}
	return p.Output.String()
}
