package images

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
)

// libraryDir matches the directories that Debian's dynamic linker searches
// without a cache file, as merged spells them.
func libraryDir(dir string) bool {
	return regexp.MustCompile(`^usr/lib(64)?(/[^/]+-linux-[^/]+)?$`).MatchString(dir)
}

// closure returns the part of t that the programs need to run: themselves, their
// dynamic linker, and the shared libraries that these ask for, by way of
// the links that lead to them.
func (t tree) closure(programs ...string) (tree, error) {
	libraries, err := t.libraries()
	if err != nil {
		return nil, err
	}
	out := tree{}
	for queue := slices.Clone(programs); len(queue) > 0; {
		name := queue[0]
		queue = queue[1:]
		way, err := t.resolve(name)
		if err != nil {
			return nil, err
		}
		last := way[len(way)-1]
		_, known := out[last]
		for _, step := range way {
			out[step] = t[step]
		}
		if known || !isELF(t[last].data) {
			continue
		}
		needs, err := neededBy(t[last].data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", last, err)
		}
		for _, need := range needs {
			file, err := out.place(need, libraries)
			if err != nil {
				return nil, fmt.Errorf("%s needs %w", last, err)
			}
			queue = append(queue, file)
		}
	}
	return out, nil
}

// place returns the file that is meant by what a program needs: a dynamic linker
// by path or a library by name. Where the library has another file name, t gets
// a link of the name that is looked for.
func (t tree) place(need string, libraries map[string]string) (string, error) {
	if strings.Contains(need, "/") {
		return merged(need), nil
	}
	file := libraries[need]
	if file == "" {
		return "", fmt.Errorf("%s, which no package has", need)
	}
	if path.Base(file) != need {
		t.symlink(path.Join(path.Dir(file), need), path.Base(file))
	}
	return file, nil
}

// libraries maps what a program may ask for to the file that has it: file names,
// and the names that the libraries call themselves, for which Debian leaves it
// to ldconfig to make the links.
func (t tree) libraries() (map[string]string, error) {
	out := map[string]string{}
	for name, e := range t {
		if !libraryDir(path.Dir(name)) || e.mode.IsDir() {
			continue
		}
		out[path.Base(name)] = name
	}
	for name, e := range t {
		if !libraryDir(path.Dir(name)) || e.mode.Type() != 0 || !isELF(e.data) {
			continue
		}
		own, err := soname(e.data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if own != "" && out[own] == "" {
			out[own] = name
		}
	}
	return out, nil
}

func isELF(data []byte) bool { return bytes.HasPrefix(data, []byte(elf.ELFMAG)) }

func soname(data []byte) (string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return "", err
	}
	names, err := f.DynString(elf.DT_SONAME)
	if err != nil || len(names) == 0 {
		return "", err
	}
	return names[0], nil
}

// neededBy returns the shared libraries by name and the dynamic linker by path.
func neededBy(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	needs, err := f.ImportedLibraries()
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		linker, err := io.ReadAll(p.Open())
		if err != nil {
			return nil, fmt.Errorf("read the name of the dynamic linker: %w", err)
		}
		needs = append(needs, string(bytes.TrimRight(linker, "\x00")))
	}
	return needs, nil
}
