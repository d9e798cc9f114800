package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// mode makes the test binary be a service: see TestMain.
const mode = "SERVICE_TEST_MODE"

func TestMain(m *testing.M) {
	if os.Getenv(mode) != "" {
		Main("probe", FromEnv(newProbe)) // does not return
	}
	goleak.VerifyTestMain(m)
}

type probeConfig struct {
	Count int           `env:"PROBE_COUNT" envDefault:"3" desc:"how many"`
	Pause time.Duration `env:"PROBE_PAUSE" envDefault:"1s" desc:"how long"`
	Mode  string        `env:"SERVICE_TEST_MODE"`
}

func (c probeConfig) Validate() error {
	if c.Count > 10 {
		return fmt.Errorf("PROBE_COUNT: %d: want at most 10", c.Count)
	}
	return nil
}

// newProbe returns a service that does what mode says.
func newProbe(cfg probeConfig, d Deps) (Runner, error) {
	check := d.Health.Check("probe")
	counter, err := d.Meter.Int64Counter("probe.runs")
	if err != nil {
		return nil, err
	}
	return RunnerFunc("probe", func(ctx context.Context) error {
		counter.Add(ctx, 1)
		switch cfg.Mode {
		case "fail":
			return errors.New("broken on purpose")
		case "early":
			return nil
		case "unready":
			check.Fail("not today")
		default:
			check.OK()
		}
		<-ctx.Done()
		if cfg.Mode == "stuck" {
			fmt.Println("draining")
			select {} // until it is killed
		}
		return nil
	}), nil
}

// command returns the test binary as a service in the given mode.
func command(t *testing.T, what string, env Env, args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cmd = exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), mode+"="+what)
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	default:
		return -2
	}
}

func TestMainExitsWithTheCodeThatFitsTheEnd(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		mode   string
		env    Env
		args   []string
		code   int
		stdout []string
		stderr []string
	}{
		{
			name: "a service that fails", mode: "fail", code: 1,
			stderr: []string{"broken on purpose"},
		},
		{
			name: "a service that ends although nobody asked", mode: "early", code: 1,
			stderr: []string{ErrStoppedEarly.Error()},
		},
		{
			name: "an address that is no address", mode: "run", env: Env{"SLUICE_HTTP_ADDR": "nowhere"}, code: 2,
			stderr: []string{"SLUICE_HTTP_ADDR"},
		},
		{
			name: "every fault of the configuration at once", mode: "run", code: 2,
			env: Env{
				"SLUICE_NAMESPACE": "NO", "SLUICE_REPLICAS": "many", "SLUICE_SESSION_TTL": "10",
				"SLUICE_LOG_LEVEL": "loud", "SLUICE_LOG_FORMAT": "xml", "NATS_CERT": "c.pem",
				"PROBE_COUNT": "11", "PROBE_PAUSE": "long", "OTEL_SDK_DISABLED": "perhaps",
			},
			stderr: []string{
				"SLUICE_NAMESPACE", `SLUICE_REPLICAS: "many": want a whole number`,
				`SLUICE_SESSION_TTL: "10": want a duration`, `log level "loud"`, `log format "xml"`,
				"NATS_CERT", "PROBE_COUNT: 11: want at most 10", `PROBE_PAUSE: "long"`, "OTEL_SDK_DISABLED",
			},
		},
		{
			name: "every file that is not there, beside the other faults", mode: "run", code: 2,
			env: Env{
				"NATS_CREDS": "/nonexistent/creds", "NATS_NKEY": "/nonexistent/nkey", "NATS_CA": "/nonexistent/ca",
				"NATS_CERT": "/nonexistent/cert", "NATS_KEY": "/nonexistent/key", "NATS_CONTEXT": "nobody-has-this",
				"SLUICE_REPLICAS": "0", "PROBE_COUNT": "11",
			},
			stderr: []string{
				"NATS_CREDS: ", "/nonexistent/creds", "NATS_NKEY: ", "/nonexistent/nkey", "NATS_CA: ", "/nonexistent/ca",
				"NATS_CERT, NATS_KEY: ", "/nonexistent/cert", `NATS_CONTEXT: context "nobody-has-this"`,
				"SLUICE_REPLICAS: 0", "PROBE_COUNT: 11",
			},
		},
		{
			name: "a variable that nothing reads", mode: "fail", env: Env{"SLUICE_REPLICA": "3"}, code: 1,
			stderr: []string{`"variable":"SLUICE_REPLICA","nearest":"SLUICE_REPLICAS"`},
		},
		{
			name: "an argument it does not know", mode: "run", args: []string{"--frobnicate"}, code: 2,
			stderr: []string{"--frobnicate", "--help"},
		},
		{
			name: "help", mode: "run", args: []string{"--help"}, code: 0,
			stdout: []string{
				"SLUICE_SESSION_TTL", "10s", "PROBE_COUNT", "how many", "NATS_URL",
				"nats://127.0.0.1:4222", "servers to connect to", "OTEL_*", "healthcheck",
			},
		},
		{
			name: "version", mode: "run", args: []string{"--version"}, code: 0,
			stdout: []string{"sluice probe "},
		},
		{
			name: "a healthcheck where nothing listens", mode: "run", args: []string{"healthcheck"}, code: 1,
			stderr: []string{"healthcheck"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := Env{"SLUICE_HTTP_ADDR": freeAddr(t)}
			for k, v := range tt.env {
				env[k] = v
			}
			cmd, stdout, stderr := command(t, tt.mode, env, tt.args...)
			if got := exitCode(cmd.Run()); got != tt.code {
				t.Errorf("exit code = %d, want %d\n%s%s", got, tt.code, stdout, stderr)
			}
			for _, want := range tt.stdout {
				if !strings.Contains(stdout.String(), want) {
					t.Errorf("standard output lacks %q:\n%s", want, stdout)
				}
			}
			for _, want := range tt.stderr {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("standard error lacks %q:\n%s", want, stderr)
				}
			}
		})
	}
}

func TestVariablesThatAServiceDoesNotReadAreNeitherShownNorJudged(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	p := process{
		name: "probe", factory: FromEnv(newProbe), unread: []string{"NATS_CERT", "NATS_KEY"},
		env:    Env{"NATS_CERT": "without a key", "SLUICE_HTTP_ADDR": freeAddr(t), mode: "early"},
		stdout: &stdout, stderr: &stderr,
	}
	if got := p.main(t.Context()); got != exitFailure { // which "early" is, and not exitUsage
		t.Errorf("exit code = %d, want %d\n%s", got, exitFailure, &stderr)
	}
	p.args = []string{"--help"}
	if got := p.main(t.Context()); got != exitOK {
		t.Errorf("exit code = %d, want %d", got, exitOK)
	}
	if out := stdout.String(); strings.Contains(out, "NATS_CERT") || !strings.Contains(out, "NATS_CREDS") {
		t.Errorf("NATS_CERT is in the help, or NATS_CREDS is not:\n%s", out)
	}
}

// start starts the service and waits until it answers on its address.
func start(t *testing.T, what, addr string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	t.Helper()
	cmd, _, stderr = command(t, what, Env{"SLUICE_HTTP_ADDR": addr})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, "http://"+addr+"/livez", http.StatusOK)
	return cmd, stderr
}

func TestMainServesProbesAndMetricsUntilItIsTerminated(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	cmd, stderr := start(t, "run", addr)
	awaitStatus(t, "http://"+addr+"/readyz", http.StatusOK)
	if body := awaitStatus(t, "http://"+addr+"/metrics", http.StatusOK); !strings.Contains(body, "sluice_probe_runs_total 1") {
		t.Errorf("metrics lack the service's own:\n%s", body)
	}
	check, out, _ := command(t, "run", Env{"SLUICE_HTTP_ADDR": addr}, "healthcheck")
	if got := exitCode(check.Run()); got != 0 {
		t.Errorf("healthcheck of a ready service exits with %d, want 0", got)
	}
	if want := "[+] probe: ok"; !strings.Contains(out.String(), want) {
		t.Errorf("healthcheck says %q, want %q in it", out, want)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if got := exitCode(cmd.Wait()); got != 0 {
		t.Errorf("exit code after SIGTERM = %d, want 0\n%s", got, stderr)
	}
}

func TestProfilesAreServedWhereTheyAreAskedFor(t *testing.T) {
	t.Parallel()
	addr, profiles := freeAddr(t), freeAddr(t)
	cmd, _, _ := command(t, "run", Env{"SLUICE_HTTP_ADDR": addr, "SLUICE_PPROF_ADDR": profiles})
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitStatus(t, "http://"+addr+"/livez", http.StatusOK)
	for _, profile := range []string{"heap?debug=1", "goroutine?debug=1", "profile?seconds=1", "cmdline"} {
		if body := awaitStatus(t, "http://"+profiles+"/debug/pprof/"+profile, http.StatusOK); body == "" {
			t.Errorf("%s is empty", profile)
		}
	}
	awaitStatus(t, "http://"+addr+"/debug/pprof/heap", http.StatusNotFound)
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if got := exitCode(cmd.Wait()); got != 0 {
		t.Errorf("exit code after SIGTERM = %d, want 0", got)
	}
}

func TestHealthcheckFailsWhileTheServiceIsNotReady(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	cmd, _ := start(t, "unready", addr)
	check, out, _ := command(t, "run", Env{"SLUICE_HTTP_ADDR": addr}, "healthcheck")
	if got := exitCode(check.Run()); got != 1 {
		t.Errorf("healthcheck of a service that is not ready exits with %d, want 1", got)
	}
	if want := "[-] probe:"; !strings.Contains(out.String(), want) {
		t.Errorf("healthcheck says %q, want %q in it", out, want)
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	if got := exitCode(cmd.Wait()); got != 0 {
		t.Errorf("exit code after SIGINT = %d, want 0", got)
	}
}

func TestASecondSignalKillsAServiceThatDoesNotDrain(t *testing.T) {
	t.Parallel()
	addr := freeAddr(t)
	cmd, _ := start(t, "stuck", addr)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	body := awaitStatus(t, "http://"+addr+"/readyz", http.StatusServiceUnavailable)
	if !strings.Contains(body, reasonDraining) {
		t.Errorf("readyz of a draining service says %q, want %q in it", body, reasonDraining)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v, want to be killed by SIGTERM", err)
	}
}

// awaitStatus asks until the answer has that status, and returns its body.
func awaitStatus(t *testing.T, url string, want int) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var last error
		status, body, err := get(ctx, &client, url)
		switch {
		case err != nil:
			last = err
		case status == want:
			return body
		default:
			last = fmt.Errorf("status %d: %s", status, body)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s never answers %d: %v", url, want, last)
		case <-tick.C:
		}
	}
}

func get(ctx context.Context, client *http.Client, url string) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return resp.StatusCode, b.String(), err
}
