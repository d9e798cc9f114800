package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"go.opentelemetry.io/otel"

	"github.com/sluicehq/sluice/pkg/telemetry"
)

// Exit codes of a service.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2 // configuration or command line
)

const telemetryShutdownTimeout = 5 * time.Second

// Main is the main function of the service of that name; it does not return.
//
//	<service>              runs it until SIGTERM or SIGINT, then drains; a
//	                       second signal kills it
//	<service> healthcheck  exits with 0 if the one that runs with the same
//	                       environment is ready, else with 1
//	<service> --help       lists the environment variables with their defaults
//	<service> --version    prints the version
//
// Unread names the variables of Common that mean nothing to this service: they
// may hold anything, and --help leaves them out.
func Main(name string, factory Factory, unread ...string) {
	p := process{
		name: name, factory: factory, unread: unread, env: Environ(),
		args: os.Args[1:], stdout: os.Stdout, stderr: os.Stderr,
	}
	// The handler is process-wide, and so is Main.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from now on a signal has its default effect
	os.Exit(p.main(ctx))
}

// process is Main with everything it takes from outside.
type process struct {
	name           string
	factory        Factory
	unread         []string
	env            Env
	args           []string
	stdout, stderr io.Writer
}

func (p process) main(ctx context.Context) (exitCode int) {
	switch {
	case len(p.args) == 0:
		return p.run(ctx)
	case len(p.args) > 1:
	case p.args[0] == "--help", p.args[0] == "-h", p.args[0] == "help":
		p.help(p.stdout)
		return exitOK
	case p.args[0] == "--version", p.args[0] == "version":
		p.print(p.stdout, "sluice %s %s\n", p.name, version())
		return exitOK
	case p.args[0] == "healthcheck":
		return p.healthcheck(ctx)
	}
	p.print(p.stderr, "%s: unknown arguments %q; try --help\n", p.name, strings.Join(p.args, " "))
	return exitUsage
}

func (p process) common() (Common, error) { return ParseCommon(p.env.Without(p.unread...)) }

func (p process) run(ctx context.Context) int {
	d, closeDeps, r, err := p.setUp(ctx)
	if err != nil {
		p.print(p.stderr, "%s: the configuration is wrong:\n", p.name)
		for _, line := range faults(err) {
			p.print(p.stderr, "  - %s\n", line)
		}
		return exitUsage
	}
	defer closeDeps()
	context.AfterFunc(ctx, d.Health.Drain)

	known := Known()
	for _, v := range p.variables() {
		known = append(known, v.name)
	}
	for _, v := range unknown(p.env, known) {
		d.Log.Warn().Str("variable", v.name).Str("nearest", v.nearest).Msg("nothing reads this variable; is it misspelt?")
	}
	d.Log.Info().Str("version", version()).Str("namespace", string(d.Common.Namespace)).
		Str("http_addr", d.Common.HTTPAddr).Msg("starting")
	all := Atop(NewHTTP(d.Common.HTTPAddr, d.Health, d.Mux, d.telemetry.Handler()), r, RunnerFunc("memory", newMemory(p.env).run))
	if addr := d.Common.PprofAddr; addr != "" {
		all = Atop(newProfiles(addr), all)
	}
	if err := all.Run(ctx); err != nil {
		d.Log.Error().Err(err).Msg("ended")
		return exitFailure
	}
	d.Log.Info().Msg("stopped")
	return exitOK
}

// setUp makes the service and its surroundings. Its error has the faults of
// all of them.
func (p process) setUp(ctx context.Context) (Deps, func(), Runner, error) {
	common, commonErr := p.common()
	log, _ := telemetry.NewLogger(p.stderr, common.logConfig(p.name)) // its faults are in commonErr
	tel, telErr := telemetry.New(ctx, telemetry.Config{Service: p.name, Version: version(), Env: p.env})

	d := Discard(common)
	if commonErr != nil { // look for the service's own faults, with what is surely right
		d.Common, _ = ParseCommon(nil)
	}
	d.Log = log
	if telErr == nil {
		d.telemetry = tel
		d.Meter, d.Tracer = tel.Meter(scope(p.name)), tel.Tracer(scope(p.name))
		otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
			log.Warn().Err(err).Msg("telemetry")
		}))
	}
	r, err := p.factory.New(p.env, d)
	err = errors.Join(err, common.NATS.CheckFiles())
	closeDeps := func() { shutDown(ctx, tel, log) }
	if err := errors.Join(commonErr, telErr, err); err != nil {
		if telErr == nil {
			closeDeps()
		}
		return Deps{}, nil, nil, err
	}
	return d, closeDeps, r, nil
}

func shutDown(ctx context.Context, tel *telemetry.Telemetry, log zerolog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), telemetryShutdownTimeout)
	defer cancel()
	if err := tel.Shutdown(ctx); err != nil {
		log.Warn().Err(err).Msg("telemetry not all sent")
	}
}

// faults returns the lines of err, each once: a service may read a variable
// that is common too.
func faults(err error) []string {
	var lines []string
	seen := make(map[string]bool)
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if line = strings.TrimSpace(line); line != "" && !seen[line] {
			seen[line] = true
			lines = append(lines, line)
		}
	}
	return lines
}

// print writes to the user; where that fails there is nobody to tell.
func (p process) print(w io.Writer, format string, args ...any) {
	_, _ = fmt.Fprintf(w, format, args...)
}

// version returns the module version that the binary was built from, or
// "(devel)" with the commit where the build recorded one.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && v == "(devel)" {
			v += " " + s.Value
		}
	}
	return v
}

const healthcheckTimeout = 3 * time.Second

// healthcheck asks the process that runs beside this one, with the same
// environment, whether it is ready: for images that have no shell and no curl.
func (p process) healthcheck(ctx context.Context) int {
	common, err := p.common()
	if err != nil {
		p.print(p.stderr, "%s: healthcheck: %v\n", p.name, err)
		return exitFailure
	}
	ctx, cancel := context.WithTimeout(ctx, healthcheckTimeout)
	defer cancel()
	if err := askReady(ctx, common.HTTPAddr, p.stdout); err != nil {
		p.print(p.stderr, "%s: healthcheck: %v\n", p.name, err)
		return exitFailure
	}
	return exitOK
}

func askReady(ctx context.Context, addr string, out io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+localAddr(addr)+"/readyz?verbose", nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", addr, err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy: it is this machine
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(out, io.LimitReader(resp.Body, 64<<10)); err != nil {
		return fmt.Errorf("read the answer of %s: %w", addr, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", addr, resp.Status)
	}
	return nil
}
