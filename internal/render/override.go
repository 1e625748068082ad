package render

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"mqtunnel/internal/remedy"
)

// checkOverride refuses what an override file asks for and no container would
// get, naming the key and the line, and variables that env does not set. What is
// wrong as YAML is refused as well.
func checkOverride(name string, text []byte, env map[string]string) error {
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var document yaml.Node
		err := decoder.Decode(&document)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return syntax(name, err)
		}
		c := checker{name: name}
		c.walk(&document, overrideKeys(), nil)
		if c.err != nil {
			return c.err
		}
		if err := checkVariables(name, &document, env); err != nil {
			return err
		}
	}
}

// syntax names the line of a YAML error without its text, which may quote the file.
func syntax(name string, err error) error {
	where := name
	if m := regexp.MustCompile(`line (\d+)`).FindStringSubmatch(err.Error()); m != nil {
		where += ":" + m[1]
	}
	return remedy.Errorf(remedy.Input, "correct the indentation, quotes or brackets around that line", "%s: not YAML", where)
}

// checker walks one document of the override file and keeps its first fault.
type checker struct {
	name   string
	visits int
	err    error
}

// maxVisits ends aliases that lead back to themselves or multiply; compose-go
// has the same limit.
const maxVisits = 100_000

// walk compares the node at path with what is allowed there.
func (c *checker) walk(n *yaml.Node, allowed keys, path []string) {
	if c.err != nil || allowed == nil && !c.inspected(path) {
		return
	}
	if c.visits++; c.visits > maxVisits {
		c.refuse(n, path, "aliases without an end", "write the values out")
		return
	}
	switch n.Kind {
	case yaml.DocumentNode, yaml.StreamNode:
		for _, child := range n.Content {
			c.walk(child, allowed, path)
		}
	case yaml.AliasNode:
		c.walk(n.Alias, allowed, path)
	case yaml.MappingNode:
		c.mapping(n, allowed, path)
	case yaml.SequenceNode:
		for _, child := range n.Content {
			// Short forms are text; only long forms have keys.
			if below := allowed["[]"]; below != nil {
				c.walk(child, below, path)
			}
		}
	case yaml.ScalarNode:
		c.scalar(n, path)
	}
}

func (c *checker) mapping(n *yaml.Node, allowed keys, path []string) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch {
		case key.Value == "<<" && (key.Tag == "!!merge" || key.Tag == ""):
			c.merge(value, allowed, path)
			continue
		case strings.HasPrefix(key.Value, "x-"), value.Tag == "!reset":
			continue
		}
		at := slices.Concat(path, []string{key.Value})
		below, ok := allowed[key.Value]
		if !ok {
			below, ok = allowed["*"]
		}
		if !ok {
			c.refuse(key, at, "not supported", hints()[key.Value])
			return
		}
		c.walk(value, below, at)
	}
}

// merge walks what "<<" brings in: a mapping or a list of them.
func (c *checker) merge(value *yaml.Node, allowed keys, path []string) {
	if value.Kind == yaml.AliasNode {
		value = value.Alias
	}
	if value.Kind != yaml.SequenceNode {
		c.walk(value, allowed, path)
		return
	}
	for _, child := range value.Content {
		c.walk(child, allowed, path)
	}
}

// inspected reports whether the value at path is looked at itself.
func (c *checker) inspected(path []string) bool {
	if len(path) < 3 || path[0] != "services" {
		return false
	}
	switch path[2] {
	case "network_mode", "volumes", "ports":
		return true
	}
	return false
}

// scalar refuses values that a supported key may not have.
func (c *checker) scalar(n *yaml.Node, path []string) {
	if len(path) < 3 || path[0] != "services" {
		return
	}
	switch strings.Join(path[2:], ".") {
	case "network_mode":
		if n.Value != "host" && n.Value != "none" {
			c.refuse(n, path, strconv.Quote(n.Value)+" is not supported", "host and none are; use networks otherwise")
		}
	case "volumes.type":
		switch n.Value {
		case "volume", "bind", "tmpfs":
		default:
			c.refuse(n, path, strconv.Quote(n.Value)+" is not supported", "volume, bind and tmpfs are")
		}
	case "ports.mode":
		if n.Value != "host" && n.Value != "ingress" {
			c.refuse(n, path, strconv.Quote(n.Value)+" is not supported", "remove it")
		}
	}
}

func (c *checker) refuse(n *yaml.Node, path []string, what, hint string) {
	if hint == "" {
		hint = "remove it, or run it with docker compose in a project of its own"
	}
	c.err = remedy.Errorf(remedy.Input, hint, "%s:%d: %s: %s", c.name, n.Line, strings.Join(path, "."), what)
}
