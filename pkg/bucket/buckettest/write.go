package buckettest

import (
	"context"
	"iter"

	"github.com/sluicehq/sluice/pkg/bucket"
)

// WriteAll is part of bucket.KeyValue. Each write is an "update" or a "delete".
func (k *KV) WriteAll(ctx context.Context, writes iter.Seq[bucket.Write], told bucket.Told) (err error) {
	type answer struct {
		bucket.Write
		revision uint64
		err      error
	}
	answers, under := make(chan answer), 0
	wait := func() {
		a := <-answers
		under--
		if terr := told(a.Write, a.revision, a.err); err == nil {
			err = terr
		}
	}
	for w := range writes {
		for under >= bucket.Window && err == nil {
			wait()
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			break
		}
		under++
		go func() { // ends with its answer, which is waited for
			revision, err := k.replace(ctx, w)
			answers <- answer{w, revision, err}
		}()
	}
	for under > 0 {
		wait()
	}
	return err
}
