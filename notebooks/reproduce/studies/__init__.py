"""What the notebooks of this folder and notebook 02 share: studies of scores, a step's memory, a checklist, quotes."""
