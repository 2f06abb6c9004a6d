@echo off
rem Starts the page on Windows, inside of WSL: copy this file to the desktop, and double-click it.
rem batch lies in the home folder of WSL, named batch. Leave the window open while you work: closing it closes batch.
title batch
where wsl.exe >nul 2>nul
if %errorlevel% neq 0 (
    echo batch needs the Windows Subsystem for Linux ^(WSL^), which is missing.
    echo To install it, open PowerShell as administrator, type:  wsl --install
    echo and restart the computer. Then double-click this again.
    pause
    exit /b 2
)
rem Without a Linux, wsl.exe ends with -1, which "errorlevel 1" does not see. That of Docker has no bash.
wsl.exe -e bash -c true <nul >nul 2>nul
if %errorlevel% neq 0 (
    echo WSL has no Linux yet that batch can use. Open PowerShell as administrator, and type:
    echo     wsl --install -d Ubuntu
    echo     wsl --set-default Ubuntu
    echo If it asks for it, restart the computer. Then double-click this again.
    pause
    exit /b 2
)
rem What the Explorer copies into Linux is not executable: bash is given it to read.
wsl.exe -e bash -lc "test -f ~/batch/run.sh"
if %errorlevel% neq 0 (
    echo batch was not found. Put its folder into the home folder of WSL, named batch:
    echo in the Explorer that is  \\wsl.localhost\Ubuntu\home\YOUR-NAME\batch
    pause
    exit /b 2
)
wsl.exe -e bash -lc "BATCH_WINDOW=1 bash ~/batch/run.sh page"
