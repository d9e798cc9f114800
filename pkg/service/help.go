package service

import (
	"io"
	"net"
	"strings"
	"text/tabwriter"
)

// otelNote stands for the OTEL_* variables, which are not ours to list.
const otelNote = "as OpenTelemetry defines them; nothing is sent where no exporter is named"

// help prints what the process understands and reads.
func (p process) help(w io.Writer) {
	p.print(w, `Usage: %s [healthcheck | --help | --version]

Runs Sluice's %[1]s until SIGTERM or SIGINT, then drains; a second signal kills.
healthcheck exits with 0 if the one that runs with the same environment is ready.

Environment:
`, p.name)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, v := range p.variables() {
		p.print(tw, "  %s\t%s\t%s\n", v.Name, v.Default, v.Description)
	}
	p.print(tw, "  OTEL_*\t\t%s\n", otelNote)
	_ = tw.Flush() // the user closed the pipe
}

// variables lists those of Common that are read, and those that the Factory
// parses.
func (p process) variables() []Variable {
	ask := Env{helpKey: ""}
	_, commonErr := ParseCommon(ask)
	common, _ := ParseCommon(nil)
	_, ownErr := p.fromEnv(ask, Discard(common))

	var out []Variable
	seen := make(map[string]bool)
	for _, name := range p.unread {
		seen[name] = true
	}
	for _, err := range []error{commonErr, ownErr} {
		for _, v := range asked(err) {
			if !seen[v.Name] {
				seen[v.Name] = true
				out = append(out, v)
			}
		}
	}
	return out
}

// names are those of variables.
func (p process) names() []string {
	var out []string
	for _, v := range p.variables() {
		out = append(out, v.Name)
	}
	return out
}

// asked collects what Parse answered, wherever it is in err.
func asked(err error) []Variable {
	switch e := err.(type) { //nolint:errorlint // walks the whole tree of errors, which errors.As does not
	case *variablesError:
		return e.vars
	case interface{ Unwrap() error }:
		return asked(e.Unwrap())
	case interface{ Unwrap() []error }:
		var out []Variable
		for _, err := range e.Unwrap() {
			out = append(out, asked(err)...)
		}
		return out
	default:
		return nil
	}
}

// localAddr is where to reach, from the same machine, what listens on addr.
func localAddr(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	switch strings.Trim(host, "[]") {
	case "", "0.0.0.0":
		host = "127.0.0.1"
	case "::":
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
