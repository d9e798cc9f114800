package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestASoakOfSeconds has every part of the program at work once, two kills
// included. Seconds are too few to judge growth by.
func TestASoakOfSeconds(t *testing.T) {
	o, err := parse([]string{"-time", "12s", "-kill", "4s", "-sample", "2s", "-subscriptions", "40", "-rate", "100"})
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }() // it is read below
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	err = run(ctx, o, out)
	text, readErr := os.ReadFile(out.Name())
	if readErr != nil {
		t.Fatal(readErr)
	}
	t.Logf("%s", text)
	for line := range strings.Lines(errorText(err)) {
		if !strings.Contains(line, " grows by ") {
			t.Error(line)
		}
	}
	for _, want := range []string{"40 of 40 subscriptions have all", "0 of ", "2 emitters killed", "emitter heap MB", "sluice_pools keys"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the report lacks %q", want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestOptionsAreValidated(t *testing.T) {
	for _, args := range []string{
		"-time 1s", "-rate 0", "-subscriptions 3", "-names -1", "-sample 1ms", "-sample 10m", "more", "-nothing",
	} {
		if _, err := parse(strings.Fields(args)); err == nil {
			t.Errorf("%s: want an error", args)
		}
	}
}
