from ptychopinn.cli import main

main()
