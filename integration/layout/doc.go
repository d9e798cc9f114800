// Package layout checks that the repository has the shape that docs and design
// give it: which package may import which, one package comment per package,
// test packages out of binaries, and no file, function or struct too large to
// read at once.
package layout
