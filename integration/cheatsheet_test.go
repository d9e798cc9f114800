package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluicehq/sluice/integration/harness"
)

// sheet returns the commands of the cheat sheet from top to bottom.
func sheet(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(harness.Root(t), "docs", "nats-cheatsheet.md"))
	if err != nil {
		t.Fatal(err)
	}
	var commands []string
	for _, block := range blocks(string(page), "sh") {
		for line := range strings.SplitSeq(block, "\n") {
			if line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "export ") {
				commands = append(commands, line)
			}
		}
	}
	return commands
}

// watches reports whether a command of the cheat sheet runs until it is stopped.
func watches(command string) bool {
	if strings.Contains(command, "--wait") {
		return false
	}
	for _, prefix := range []string{"nats reply", "nats sub ", "nats events", "nats kv watch"} {
		if strings.HasPrefix(command, prefix) {
			return true
		}
	}
	return false
}

// refusedOnPurpose reports whether an answer is the error that the page announces.
func refusedOnPurpose(command, answer string) bool {
	return strings.Contains(command, `"if_revision":3`) && strings.Contains(answer, `"err_code":300006`)
}

func TestTheCheatSheetRunsFromTopToBottom(t *testing.T) {
	t.Parallel()
	e := harness.New(t)
	e.StartAll()
	cli := harness.Program(t, "tools/natscli", "github.com/nats-io/natscli/nats")
	s := shell{t: t, env: []string{
		"PATH=" + filepath.Dir(cli) + string(os.PathListSeparator) + os.Getenv("PATH"),
		"NATS_URL=" + e.Server.URL(), "NATS_CONTEXT=", "XDG_CONFIG_HOME=" + t.TempDir(),
	}}
	commands := sheet(t)
	if len(commands) < 50 {
		t.Fatalf("the page has %d commands: that cannot be all", len(commands))
	}
	var running *harness.Process // a subscriber or a watch, until the next one
	for _, command := range commands {
		if watches(command) {
			if running != nil {
				running.Kill()
			}
			running = s.start(command)
			harness.Await(t, command, func() error { return speaks(running) })
			continue
		}
		// What it shows may be on its way: an event that is being parked, say.
		harness.Await(t, command, func() error {
			p := s.start(command)
			if err := p.Wait(); err != nil {
				return fmt.Errorf("%w: %s", err, p.Output)
			}
			if out := p.Output.String(); strings.Contains(out, `"error":`) && !refusedOnPurpose(command, out) {
				return errors.New(out)
			}
			return nil
		})
	}
}

// speaks reports an error until a command that stays on has said something.
func speaks(p *harness.Process) error {
	if p.Output.String() == "" {
		return errors.Join(errors.New("it says nothing"), p.Ended())
	}
	return p.Ended()
}
