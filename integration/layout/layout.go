package layout

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the path of the module whose layout this is.
const Module = "github.com/sluicehq/sluice"

// How long a Go file may be.
const (
	MaxLines     = 400
	MaxTestLines = 500 // the lines of a test file
)

// sharedParts stands where the name of a service does in the path of the parts
// that several services are built of.
const sharedParts = "internal"

// Package is what the rules look at, named as in `go list -json`.
type Package struct {
	ImportPath   string
	Name         string
	Dir          string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// File is one Go file of a package.
type File struct {
	Name  string // its path inside the repository
	Lines int
	Test  bool
	Doc   bool // it has a package comment
}

// path returns p's import path inside the module, or "" where it is not ours.
func path(importPath string) string {
	rest, ok := strings.CutPrefix(importPath, Module+"/")
	if !ok {
		return ""
	}
	return rest
}

// CheckImports returns what is wrong with the imports of ps, test files
// included: a test may import whatever its package may, and test packages.
func CheckImports(ps []Package) []string {
	var faults []string
	for _, p := range ps {
		from := path(p.ImportPath)
		for _, imported := range slices.Sorted(slices.Values(p.Imports)) {
			if why := forbidden(from, path(imported), false); why != "" {
				faults = append(faults, fmt.Sprintf("%s imports %s: %s", from, path(imported), why))
			}
			if isPure(from) && isOutside(imported) {
				faults = append(faults, fmt.Sprintf("%s imports %s: it only decides, and takes no lock and no connection", from, imported))
			}
		}
		for _, imported := range slices.Concat(p.TestImports, p.XTestImports) {
			if why := forbidden(from, path(imported), true); why != "" {
				faults = append(faults, fmt.Sprintf("tests of %s import %s: %s", from, path(imported), why))
			}
		}
	}
	return faults
}

// forbidden says why code in from must not import to, both inside the module,
// or "" if it may.
func forbidden(from, to string, test bool) string {
	fromService, toService := serviceOf(from), serviceOf(to)
	switch {
	case to == "" || from == to:
		return ""
	case isTestPackage(to) && !test && !isTestPackage(from) && !under(from, "integration"):
		return "it is for tests and must stay out of binaries"
	case under(from, "pkg/wire") && !test:
		return "the contract stands on the standard library alone"
	case under(from, "pkg") && !under(to, "pkg"):
		return "pkg is below the services"
	case under(from, "services") && under(to, "integration"):
		return "integration is above the services"
	case fromService == "standalone", under(from, "integration"):
		return ""
	case toService == sharedParts:
		return ""
	case toService != "" && fromService != toService:
		return "services meet on NATS and in wire, not in code"
	case toService != "" && from != "services/"+fromService && to == "services/"+toService+"/"+toService && !test:
		return "parts of a service are below it"
	}
	return ""
}

// isPure reports whether the package at path only decides: what it does depends
// on what it is given, the time included. Its tests rely on that.
func isPure(path string) bool {
	return slices.Contains([]string{"services/internal/pool/core", "services/internal/checkpoint", "services/internal/limit"}, path)
}

// isOutside reports whether an import is of what a pure package does without. It
// may have counters: sync/atomic makes nobody wait.
func isOutside(imported string) bool {
	return imported == "sync" || imported == "context" || under(imported, "net") || under(imported, "github.com/nats-io/nats.go")
}

// under reports whether path is dir or inside it.
func under(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, dir+"/")
}

// serviceOf returns the service that path belongs to, or "".
func serviceOf(path string) string {
	rest, ok := strings.CutPrefix(path, "services/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// isTestPackage reports whether path exists for tests only: by convention its
// last element ends in "test".
func isTestPackage(path string) bool {
	return strings.HasSuffix(path, "test")
}

// CheckFiles returns what is wrong with the files of the package at
// importPath.
func CheckFiles(importPath string, files []File) []Excess {
	var faults []Excess
	var docs []string
	for _, f := range files {
		most := MaxLines
		if f.Test {
			most = MaxTestLines
		}
		if f.Lines > most {
			faults = append(faults, Excess{f.Name + ": lines", fmt.Sprintf("%s has %d lines: split it, %d are enough", f.Name, f.Lines, most)})
		}
		if f.Doc {
			docs = append(docs, f.Name)
		}
	}
	if len(docs) != 1 {
		faults = append(faults, Excess{importPath + ": comments", fmt.Sprintf("%s has %d package comments %v: want one", importPath, len(docs), docs)})
	}
	return faults
}
