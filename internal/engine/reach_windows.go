package engine

// permissionHints says how to get access to Docker Desktop's pipe.
func permissionHints(string) []string {
	return []string{"this user has to be in the group docker-users; log out and in again afterwards"}
}
