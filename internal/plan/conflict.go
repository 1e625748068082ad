package plan

import "fmt"

// Conflict is a container that stands in the way of the project.
type Conflict struct {
	Container Container
	Name      string // the name or port that both want
}

// Conflicts lists containers that are not of this project and hold a name that
// it wants.
func Conflicts(p Project, o Observed) []Conflict {
	var list []Conflict
	for _, s := range p.Services {
		for _, c := range o.Foreign {
			if c.Name == s.ContainerName && c.Project() != p.Name {
				list = append(list, Conflict{Container: c, Name: c.Name})
			}
		}
	}
	return list
}

// Elsewhere returns the directory that the running project of this name belongs
// to, when it is another one.
func Elsewhere(p Project, o Observed) (dir string, elsewhere bool) {
	for _, c := range o.Containers {
		if d := c.Labels[LabelWorkingDir]; d != "" && d != p.Dir {
			return d, true
		}
	}
	return "", false
}

// Describe names a container's owner for a person: the Compose project and its
// directory, or that it was started by hand.
func (c Container) Describe() string {
	if c.Project() == "" {
		return fmt.Sprintf("container %s, started outside Compose", c.Name)
	}
	return fmt.Sprintf("container %s of Compose project %s in %s", c.Name, c.Project(), c.Labels[LabelWorkingDir])
}
