package bus

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sluicehq/sluice/pkg/feed"
	"github.com/sluicehq/sluice/pkg/wire"
)

const (
	// subscriptionsHistory is how many revisions of a record are kept: what
	// the replayer can look back on. It is the most that KV allows.
	subscriptionsHistory = 64
	advisoriesMaxAge     = 7 * 24 * time.Hour
	// maxConsumers replaces the server's default of 1000 per stream, which
	// counts every watch of a bucket.
	maxConsumers = 100_000
	// minSessionTTL is the least that KV expiry and its timers can keep.
	minSessionTTL = time.Second
	// smallShare is what the buckets of sessions and replays may hold of what
	// each of the others may: they hold little, however large Sluice grows.
	smallShare = 8
	// minBytes is the least bound: one message of the size that NATS takes by
	// default has room in it.
	minBytes = 1 << 20
)

// Bounds say how many bytes Sluice's own buckets and streams may hold. Zero
// fields are the defaults.
type Bounds struct {
	// Bucket is the bound of each of the buckets of subscriptions, pools and
	// health; sessions and replays have an eighth of it. At it writes fail.
	Bucket int64 `env:"SLUICE_MAX_BUCKET_BYTES" envDefault:"536870912" desc:"most bytes in the bucket of subscriptions, of pools, of health"`
	// Parked is the bound of the parked stream. At it events are not parked:
	// they hold their lanes until there is room.
	Parked int64 `env:"SLUICE_MAX_PARKED_BYTES" envDefault:"1073741824" desc:"most bytes of parked events"`
	// Quarantine is the bound of the quarantine stream. At it entries that
	// cannot be read stay where they are.
	Quarantine int64 `env:"SLUICE_MAX_QUARANTINE_BYTES" envDefault:"67108864" desc:"most bytes of unreadable entries"`
	// Advisories is the bound of the advisories. At it the oldest go.
	Advisories int64 `env:"SLUICE_MAX_ADVISORIES_BYTES" envDefault:"134217728" desc:"most bytes of advisories"`
}

// WithDefaults returns b with its zero fields filled in.
func (b Bounds) WithDefaults() Bounds {
	return Bounds{
		Bucket: cmp.Or(b.Bucket, 512<<20), Parked: cmp.Or(b.Parked, 1<<30),
		Quarantine: cmp.Or(b.Quarantine, 64<<20), Advisories: cmp.Or(b.Advisories, 128<<20),
	}
}

// Validate reports everything that is wrong with b, by the names of the
// environment variables; zero fields are the defaults.
func (b Bounds) Validate() error {
	b = b.WithDefaults()
	var errs []error
	for _, f := range []struct {
		name  string
		value int64
		least int64
	}{
		{"SLUICE_MAX_BUCKET_BYTES", b.Bucket, smallShare * minBytes},
		{"SLUICE_MAX_PARKED_BYTES", b.Parked, minBytes},
		{"SLUICE_MAX_QUARANTINE_BYTES", b.Quarantine, minBytes},
		{"SLUICE_MAX_ADVISORIES_BYTES", b.Advisories, minBytes},
	} {
		if f.value < f.least {
			errs = append(errs, fmt.Errorf("%s: %d: want at least %d", f.name, f.value, f.least))
		}
	}
	return errors.Join(errs...)
}

// Layout is what Ensure creates and in which shape.
type Layout struct {
	// Namespace prefixes every name. Defaults to wire.DefaultNamespace.
	Namespace wire.Namespace
	// Replicas of each bucket and stream, 1 to 5. Defaults to 1.
	Replicas int
	// SessionTTL is how long a session or lease outlives its last renewal, at
	// least 1s. All instances of a namespace must agree on it. Defaults to 10s.
	SessionTTL time.Duration
	// Bounds in bytes.
	Bounds Bounds
	// Owner is whose consumers follow the buckets. Defaults to the namespace's.
	Owner feed.Owner
	// Waiting is told why Ensure has not succeeded yet, at each failure. Optional.
	Waiting func(reason string)
}

// WithDefaults returns l with its zero fields filled in.
func (l Layout) WithDefaults() Layout {
	l.Namespace = cmp.Or(l.Namespace, wire.DefaultNamespace)
	l.Replicas = cmp.Or(l.Replicas, 1)
	l.SessionTTL = cmp.Or(l.SessionTTL, 10*time.Second)
	l.Bounds = l.Bounds.WithDefaults()
	l.Owner = cmp.Or(l.Owner, feed.Owner{Namespace: string(l.Namespace), Service: "sluice", Instance: "sluice"})
	return l
}

// Validate reports everything that is wrong with l, zero fields being
// the defaults.
func (l Layout) Validate() error {
	l = l.WithDefaults()
	errs := []error{l.Namespace.Validate(), l.Bounds.Validate()}
	if l.Replicas < 1 || l.Replicas > 5 {
		errs = append(errs, fmt.Errorf("replicas %d: want 1 to 5", l.Replicas))
	}
	if l.SessionTTL < minSessionTTL {
		errs = append(errs, fmt.Errorf("session TTL %v: want at least %v", l.SessionTTL, minSessionTTL))
	}
	return errors.Join(errs...)
}

// streams is everything that l asks for, buckets included: they are created
// as streams since a bucket's configuration cannot set MaxConsumers.
func (l Layout) streams() []jetstream.StreamConfig {
	ns, b := l.Namespace, l.Bounds
	advisories := l.stream(ns.StreamAdvisories(), "Sluice: advisories", ns.Advisories(), b.Advisories)
	advisories.Discard, advisories.MaxAge = jetstream.DiscardOld, advisoriesMaxAge
	subscriptions := l.bucket(ns.BucketSubscriptions(), "Sluice: subscriptions", b.Bucket, 0)
	subscriptions.MaxMsgsPerSubject = subscriptionsHistory
	return []jetstream.StreamConfig{
		subscriptions,
		l.bucket(ns.BucketPools(), "Sluice: claims and checkpoints", b.Bucket, 0),
		l.bucket(ns.BucketSessions(), "Sluice: sessions and leases", b.Bucket/smallShare, l.SessionTTL),
		l.bucket(ns.BucketHealth(), "Sluice: health reports", b.Bucket, 0),
		l.bucket(ns.BucketReplays(), "Sluice: replays", b.Bucket/smallShare, 0),
		advisories,
		l.stream(ns.StreamParked(), "Sluice: parked events", ns.Parked("*"), b.Parked),
		l.stream(ns.StreamQuarantine(), "Sluice: unreadable entries", ns.Quarantine("*"), b.Quarantine),
	}
}

// stream refuses what is new once it is full, so that nothing in it is lost.
// Nothing of Sluice's allows rollup: one message with that header would wipe
// all of it.
func (l Layout) stream(name, description, subject string, maxBytes int64) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: name, Description: description, Subjects: []string{subject},
		Retention: jetstream.LimitsPolicy, Storage: jetstream.FileStorage, Discard: jetstream.DiscardNew,
		MaxMsgs: -1, MaxBytes: maxBytes, MaxMsgSize: -1, MaxMsgsPerSubject: -1,
		MaxConsumers: maxConsumers, Replicas: l.Replicas, AllowDirect: true,
	}
}

// bucket is the stream that the KV client would create for a bucket, but for
// rollup, which only its Purge needs.
func (l Layout) bucket(name, description string, maxBytes int64, ttl time.Duration) jetstream.StreamConfig {
	cfg := l.stream(bucketPrefix+name, description, "$KV."+name+".>", maxBytes)
	cfg.MaxMsgsPerSubject = 1
	cfg.DenyDelete = true
	cfg.MaxAge = ttl
	cfg.Duplicates = 2 * time.Minute
	if ttl > 0 {
		cfg.Duplicates = min(cfg.Duplicates, ttl)
	}
	return cfg
}

// bucketPrefix begins the name of a bucket's stream.
const bucketPrefix = "KV_"

func isBucket(c jetstream.StreamConfig) bool { return strings.HasPrefix(c.Name, bucketPrefix) }
