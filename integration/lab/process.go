package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// Process is a program that runs in a world.
type Process struct {
	Name string
	Out  io.Reader // its standard output; that of a service is thrown away

	cmd   *exec.Cmd
	http  string // address of its health and metrics; "" if it has none
	pprof string // address of its profiles; "" if it has none
	ended bool
}

// PID is the number of the process.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Kill ends the process at once, as SIGKILL does, and waits until it is gone.
func (p *Process) Kill() {
	if p.ended {
		return
	}
	p.ended = true
	_ = p.cmd.Process.Kill() // it may have ended
	_ = p.cmd.Wait()         // that it was killed is no news
}

// Spent is the processor time that an ended process has used.
func (p *Process) Spent() (user, system time.Duration) {
	if s := p.cmd.ProcessState; s != nil {
		return s.UserTime(), s.SystemTime()
	}
	return 0, 0
}

// Usage is what a process uses at a moment. Memory is in KiB.
type Usage struct {
	Resident   int           // VmRSS
	CPU        time.Duration // since its start
	Files      int           // open descriptors
	Heap       int           // live after a collection; 0 if it has no profiles
	Goroutines int           // 0 if it has no profiles
}

// ticks is the unit of processor time in /proc: USER_HZ, 100 on all platforms
// of Linux that Go runs on (man 5 proc_pid_stat).
const ticks = time.Second / 100

// Usage measures the process. It works on Linux only.
func (p *Process) Usage(ctx context.Context) (Usage, error) {
	u, err := p.light()
	if err != nil || p.pprof == "" {
		return u, err
	}
	heap, err := get(ctx, p.pprof, "/debug/pprof/heap?gc=1&debug=1")
	if err != nil {
		return u, err
	}
	bytesLive, err := after(heap, "# HeapAlloc = ")
	if err != nil {
		return u, err
	}
	u.Heap = bytesLive >> 10
	goroutines, err := get(ctx, p.pprof, "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return u, err
	}
	u.Goroutines, err = after(goroutines, "goroutine profile: total ")
	return u, err
}

// CPU is the processor time that the process has used.
func (p *Process) CPU() (time.Duration, error) {
	u, err := p.light()
	return u.CPU, err
}

// Load is the processor time that the process uses over a while, in percent of a
// core.
func (p *Process) Load(ctx context.Context, over time.Duration) (float64, error) {
	before, err := p.CPU()
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := Pause(ctx, over); err != nil {
		return 0, err
	}
	after, err := p.CPU()
	return 100 * (after - before).Seconds() / time.Since(begin).Seconds(), err
}

// Resident is the resident memory of the process, in KiB.
func (p *Process) Resident() (int, error) {
	u, err := p.light()
	return u.Resident, err
}

// light is Usage without what the process itself has to be asked for.
func (p *Process) light() (u Usage, err error) {
	dir := fmt.Sprintf("/proc/%d/", p.PID())
	status, err := os.ReadFile(dir + "status")
	if err != nil {
		return u, fmt.Errorf("usage of %s: it can be measured on Linux only, while it runs: %w", p.Name, err)
	}
	if u.Resident, err = after(status, "VmRSS:"); err != nil {
		return u, err
	}
	stat, err := os.ReadFile(dir + "stat")
	if err != nil {
		return u, err
	}
	if u.CPU, err = cpu(stat); err != nil {
		return u, err
	}
	files, err := os.ReadDir(dir + "fd")
	u.Files = len(files)
	return u, err
}

// cpu reads utime and stime, fields 14 and 15, behind the name in parentheses,
// which may have blanks.
func cpu(stat []byte) (time.Duration, error) {
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) < 13 {
		return 0, errors.New("usage: too few fields in /proc/PID/stat")
	}
	user, err := strconv.Atoi(string(f[11]))
	if err != nil {
		return 0, err
	}
	system, err := strconv.Atoi(string(f[12]))
	return time.Duration(user+system) * ticks, err
}

// after reads the number that comes after a label.
func after(text []byte, label string) (int, error) {
	_, rest, ok := bytes.Cut(text, []byte(label))
	f := bytes.Fields(rest)
	if !ok || len(f) == 0 {
		return 0, fmt.Errorf("usage: no %q", label)
	}
	return strconv.Atoi(string(f[0]))
}

// get asks a process for a page.
func get(ctx context.Context, addr, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }() // it was read
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s%s: %s", addr, path, resp.Status)
	}
	return body, err
}
