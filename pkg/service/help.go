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
		p.print(tw, "  %s\t%s\t%s\n", v.name, v.standard, v.description)
	}
	p.print(tw, "  OTEL_*\t\t%s\n", otelNote)
	_ = tw.Flush() // the user closed the pipe
}

// variables lists those that are read, each once, in the order in which the help
// shows them.
func (p process) variables() (out []variable) {
	seen := make(map[string]bool)
	for _, name := range p.unread {
		seen[name] = true
	}
	for _, config := range append([]any{new(Common)}, p.factory.Configs...) {
		vars, _ := variables(config) // what is none has no variables
		for _, v := range vars {
			if !seen[v.name] {
				seen[v.name] = true
				out = append(out, v)
			}
		}
	}
	return out
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
