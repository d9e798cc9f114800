package secret_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluicehq/sluice/services/internal/secret"
)

const canary = "canary-5f2c"

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestASecretComesFromItsFileElseFromTheEnvironment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "both", " file-1\nfile-2\n")
	env := map[string]string{"SLUICE_SECRET_BOTH": "env", "SLUICE_SECRET_MY_HOOK": "one two"}
	for _, tt := range []struct {
		dir, name string
		want      []string
	}{
		{dir, "both", []string{"file-1", "file-2"}},
		{"", "both", []string{"env"}},
		{dir, "my-hook", []string{"one", "two"}},
		{filepath.Join(dir, "none"), "my_hook", []string{"one", "two"}},
	} {
		got, err := secret.New(tt.dir, env).Words(tt.name)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestAFileIsReadAgainWhenItHasChanged(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "k", "one")
	s := secret.New(dir, nil)
	want := func(word string) {
		t.Helper()
		if got, err := s.Words("k"); err != nil || !slices.Equal(got, []string{word}) {
			t.Errorf("%q, %v; want %s", got, err, word)
		}
	}
	want("one")
	write(t, dir, "k", "two")
	if err := os.Chtimes(filepath.Join(dir, "k"), time.Time{}, time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	want("two")
	write(t, dir, "new", "three") // as a mounted secret changes: another file in its place
	if err := os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, "k")); err != nil {
		t.Fatal(err)
	}
	want("three")
}

func TestErrorsNameTheSecretAndHoldNothingOfIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "long", strings.Repeat(canary, 1000))
	write(t, dir, "empty", " \n")
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"long": "more than 4096 bytes", "empty": "is empty", "folder": "read its file",
		"missing": "set SLUICE_SECRET_MISSING for the emitter, or put a file missing into SLUICE_SECRETS_DIR",
	} {
		words, err := secret.New(dir, nil).Words(name)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %q, %v; want %q", name, words, err, want)
			continue
		}
		if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v tells too much", name, err)
		}
	}
}
