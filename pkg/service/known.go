package service

import (
	"maps"
	"slices"
	"strings"
)

const (
	// ownPrefix begins the variables that are Sluice's own.
	ownPrefix = "SLUICE_"
	// secretPrefix begins those whose names users choose.
	secretPrefix = "SLUICE_SECRET_"
)

// Known returns every variable of Sluice, whatever program reads it: a program
// is often started with the variables of all. A test keeps it equal to the
// configuration page.
func Known() []string {
	return []string{
		"SLUICE_BUILD_IMAGE", "SLUICE_CHECKPOINT_RATE", "SLUICE_CLEANUP_ENABLED", "SLUICE_CLEANUP_MAX_ATTEMPTS",
		"SLUICE_CLEANUP_RETRY_DELAY", "SLUICE_DATA_DIR", "SLUICE_DRAIN_TIMEOUT", "SLUICE_EVENT_BYTES",
		"SLUICE_HEALTH_INTERVAL", "SLUICE_HEALTH_LAG_AGE", "SLUICE_HEALTH_STALL_AFTER", "SLUICE_HTTP_ADDR", "SLUICE_HTTP_ALLOW",
		"SLUICE_HTTP_PER_HOST", "SLUICE_HTTP_PORT", "SLUICE_HTTP_PROXY", "SLUICE_IMAGE", "SLUICE_INBOX_PREFIX", "SLUICE_LOG_FORMAT", "SLUICE_LOG_LEVEL",
		"SLUICE_MAX_ADVISORIES_BYTES", "SLUICE_MAX_BUCKET_BYTES", "SLUICE_MAX_PARKED_BYTES",
		"SLUICE_MAX_QUARANTINE_BYTES", "SLUICE_MAX_READERS", "SLUICE_MAX_REQUESTS_PER_PREFIX",
		"SLUICE_MAX_REQUESTS_PER_SECOND", "SLUICE_MAX_REQUEST_BYTES", "SLUICE_MAX_SUBSCRIPTIONS",
		"SLUICE_NAMESPACE", "SLUICE_NAMES_RETENTION", "SLUICE_NATS_ADDR", "SLUICE_NATS_PORT", "SLUICE_PPROF_ADDR",
		"SLUICE_RECONCILE_PACE", "SLUICE_RECONCILE_RETRY", "SLUICE_RECONCILE_SETTLE", "SLUICE_RECONCILE_WAIT",
		"SLUICE_REPLAYS_MAX", "SLUICE_REPLAYS_PER_INSTANCE", "SLUICE_REPLAY_CONFIRM_ABOVE", "SLUICE_REPLICAS",
		"SLUICE_SECRETS_DIR", "SLUICE_SESSION_TTL",
	}
}

// misspelt is a variable that nothing reads.
type misspelt struct {
	name    string
	nearest string // the known name that is most like it; "" where none is
}

// unknown returns the variables of env that begin as Sluice's do and that are
// not known, in the order of their names.
func unknown(env Env, known []string) []misspelt {
	var out []misspelt
	for _, name := range slices.Sorted(maps.Keys(env)) {
		if strings.HasPrefix(name, ownPrefix) && !strings.HasPrefix(name, secretPrefix) && !slices.Contains(known, name) {
			out = append(out, misspelt{name, nearest(name, known)})
		}
	}
	return out
}

// nearest returns the name that takes the fewest edits to make of s, "" where
// that is more than a third of it.
func nearest(s string, names []string) string {
	best, least := "", (len(s)-len(ownPrefix))/3+1
	for _, name := range names {
		if d := distance(s, name); d < least {
			best, least = name, d
		}
	}
	return best
}

// distance is how many letters must be added, taken away or replaced to make b
// of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := before
			if a[i] != b[j] {
				replaced++
			}
			before = row[j+1]
			row[j+1] = min(replaced, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}
