package natsd

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// EnvDataDir is the environment variable that Config.DataDir comes from.
const EnvDataDir = "SLUICE_DATA_DIR"

// lockName is the file in a data directory that says who uses it.
const lockName = "sluice.lock"

// InUseError reports that another process has the data directory.
type InUseError struct {
	Dir    string
	Holder string // what the holder wrote into the lock file; may be empty
}

func (e *InUseError) Error() string {
	holder := e.Holder
	if holder == "" {
		holder = "another process"
	}
	return fmt.Sprintf("data directory %s is in use by %s: stop it, or set %s to another directory", e.Dir, holder, EnvDataDir)
}

// lock takes a data directory for this process, creating it if it is missing.
// Two servers on one directory would overwrite each other's streams. The kernel
// lets go of the lock when the process dies, however it dies, so that no stale
// lock can be left. The error is an *InUseError where another process has it.
func lock(dir, url string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the data directory (%s): %w", EnvDataDir, err)
	}
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	file := filepath.Join(dir, lockName)
	l := flock.New(file, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o600))
	switch ok, err := l.TryLock(); {
	case err != nil:
		return nil, fmt.Errorf("lock the data directory (%s): %w", EnvDataDir, err)
	case !ok:
		holder, _ := os.ReadFile(file) // the refusal stands without it
		return nil, &InUseError{Dir: dir, Holder: strings.TrimSpace(string(holder))}
	}
	holder := fmt.Sprintf("process %d at %s since %s\n", os.Getpid(), url, time.Now().UTC().Format(time.RFC3339))
	if err := os.WriteFile(file, []byte(holder), 0o600); err != nil {
		return nil, fmt.Errorf("write the lock of the data directory (%s): %w", EnvDataDir, errors.Join(err, l.Unlock()))
	}
	return l.Unlock, nil
}
