// Package buckettest has a bucket in memory, for tests of timing under
// testing/synctest, where a real socket would stop the fake clock.
//
// Only tests may import it.
package buckettest
