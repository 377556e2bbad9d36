"""The isolation experiment: a fault strikes some conversations; what do the others notice?"""
